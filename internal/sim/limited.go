package sim

import (
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"time"

	"weir/internal/api"
	"weir/internal/jetstream"
	"weir/internal/msg"
	"weir/internal/router"
	"weir/internal/subject"
)

// limited is a stream with limits, of messages, of messages of a subject, of age, which
// is purged now and then. An ordered consumer follows it. A message is gone only if a
// limit, a purge or the end of a memory stream explains it, and no limit is exceeded.
type limited struct {
	world   *world
	config  api.StreamConfig
	holding *holding
	pub     publisher
	ordered *ordered

	mu     sync.Mutex
	purges []*purge
}

// purge is a request to remove messages.
type purge struct {
	request     api.StreamPurgeRequest
	one         uint64 // the message that is to be deleted; 0: a purge
	sent, ended time.Time
	refused     bool
}

// expirySlack covers clocks that are wrong by three seconds each way, and how late
// a message may expire.
const expirySlack = 8 * time.Second

func newLimited(w *world) side {
	l := &limited{world: w, config: plainStream("L", "l.>", min(w.options.Nodes, 3))}
	c := &l.config
	switch w.rand.IntN(4) {
	case 0:
		c.MaxMsgs = int64(5 + w.rand.IntN(40))
	case 1:
		c.MaxMsgsPer = int64(1 + w.rand.IntN(8))
	case 2:
		c.MaxMsgs, c.MaxMsgsPer = int64(5+w.rand.IntN(40)), int64(1+w.rand.IntN(8))
	case 3:
		c.MaxAge = w.between(2*expirySlack, 4*expirySlack)
	}
	if w.chance(60) {
		c.Storage = api.MemoryStorage
	}
	if w.scales || c.Storage == api.MemoryStorage && w.chance(30) {
		c.Replicas, w.wiped = 1, true
	}
	l.holding = newHolding(w, *c, func() { l.ordered.startOver() })
	l.pub = publisher{world: w, inbox: "lim.pub.", subjects: "l.", letter: "l", forgets: l.holding.memory()}
	if c.MaxAge > 0 {
		l.pub.within = c.MaxAge - expirySlack
	}
	l.ordered = newOrdered(w, c.Name, api.DeliverAll, func() bool { return l.holding.lost })
	return l
}

func (l *limited) streams() []api.StreamConfig { return []api.StreamConfig{l.config} }

func (l *limited) step(n *node) {
	switch p := l.world.rand.IntN(100); {
	case p < 70:
		for range 1 + l.world.rand.IntN(8) {
			l.pub.publish(n)
		}
	case p < 90:
		l.pub.retry(n)
		l.ordered.follow(n)
	default:
		l.purge(n)
	}
}

// purge asks for the removal of some messages, once.
func (l *limited) purge(n *node) {
	w, name := l.world, "STREAM.PURGE."+l.config.Name
	p := &purge{sent: now()}
	var seqs []uint64
	for _, x := range l.pub.list {
		if x.seq != 0 {
			seqs = append(seqs, x.seq)
		}
	}
	if w.chance(60) {
		p.request.Subject = fmt.Sprintf("l.%d", w.rand.IntN(4))
	}
	switch k := w.rand.IntN(4); {
	case k == 0 && len(seqs) > 0:
		p.request.Sequence = seqs[w.rand.IntN(len(seqs))]
	case k == 1:
		p.request.Keep = uint64(1 + w.rand.IntN(5))
	case k == 2 && len(seqs) > 0:
		p.one = seqs[w.rand.IntN(len(seqs))]
	}
	l.mu.Lock()
	id := len(l.purges)
	l.purges = append(l.purges, p)
	l.mu.Unlock()
	var body any = p.request
	if p.one != 0 {
		name, body = "STREAM.MSG.DELETE."+l.config.Name, api.StreamMsgDeleteRequest{Seq: p.one}
	}
	data, err := json.Marshal(body)
	if err != nil {
		w.fail("%s: %v", name, err)
	}
	w.logf("%s %s", name, data)
	n.say(apiPrefix+name, fmt.Sprintf("_INBOX.%s.lim.purge.%d", n.name, id), nil, data)
}

func (l *limited) heard(_ *life, rest string, m *router.Msg) {
	kind, rest, _ := strings.Cut(rest, ".")
	switch kind {
	case "pub":
		l.pub.answered(rest, m.Payload)
	case "purge":
		l.purged(rest, m.Payload)
	}
}

func (l *limited) purged(id string, body []byte) {
	var i int
	var a api.StreamPurgeResponse
	if _, err := fmt.Sscan(id, &i); err != nil || json.Unmarshal(body, &a) != nil {
		l.world.fail("purge: answer %q", body)
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	p := l.purges[i]
	p.ended, p.refused = now(), a.Error != nil
	if p.refused {
		l.world.logf("purge refused: %v", a.Error)
	}
}

func (l *limited) unsettled(n *node) string {
	l.holding.look()
	l.pub.retry(n)
	l.ordered.follow(n)
	if left := l.pub.unacknowledged(); len(left) > 0 {
		return fmt.Sprintf("%d publishes are not acknowledged, %s for one", len(left), left[0].id)
	}
	if l.ordered.behind(l.world.lastOf(l.config.Name)) {
		return "the ordered consumer has not seen all"
	}
	return ""
}

func (l *limited) check() {
	l.holding.look()
	l.world.eachContent(l.config.Name, func(n *node, s *jetstream.Stream, list []msg.Message) {
		l.withinLimits(n, list)
		l.explained(n, list, s.Store().State().LastSeq)
		for _, p := range l.purges {
			l.gone(n, list, p)
		}
		l.ordered.check(n, list, func(*msg.Message) bool { return true })
	})
}

// withinLimits looks for messages that a limit should have removed.
func (l *limited) withinLimits(n *node, list []msg.Message) {
	c, per, at := &l.config, map[string]int64{}, map[string]uint64{}
	for _, m := range list {
		per[m.Subject]++
		if other, twice := at[string(m.Data)]; twice && c.MaxAge == 0 {
			l.world.fail("%s: message %s is stored at %d and %d", n.name, m.Data, other, m.Seq)
		}
		at[string(m.Data)] = m.Seq
		if age := now().Sub(time.Unix(0, m.Time)); c.MaxAge > 0 && age > c.MaxAge+expirySlack {
			l.world.fail("%s: message %s stays at %d, %v old, at most %v is allowed", n.name, m.Data, m.Seq, age, c.MaxAge)
		}
	}
	if c.MaxMsgs > 0 && int64(len(list)) > c.MaxMsgs {
		l.world.fail("%s: %d messages, at most %d are allowed", n.name, len(list), c.MaxMsgs)
	}
	for subj, count := range per {
		if c.MaxMsgsPer > 0 && count > c.MaxMsgsPer {
			l.world.fail("%s: %d messages of %s, at most %d are allowed", n.name, count, subj, c.MaxMsgsPer)
		}
	}
}

// explained looks for messages that are gone though nothing took them away.
func (l *limited) explained(n *node, list []msg.Message, last uint64) {
	at := map[uint64]string{}
	for _, m := range list {
		at[m.Seq] = string(m.Data)
	}
	for _, p := range l.pub.list {
		if p.seq == 0 || l.holding.may(p.acked) {
			continue
		}
		id, stays := at[p.seq]
		if stays && id != p.id {
			l.world.fail("%s: message %s was acknowledged at %d, which is %s", n.name, p.id, p.seq, id)
		}
		if !stays && !l.overLimit(p, last) && !l.purgedAway(p) {
			l.world.fail("%s: message %s was acknowledged at %d and is gone", n.name, p.id, p.seq)
		}
	}
}

// overLimit tells whether a limit may have removed a message.
func (l *limited) overLimit(p *publication, last uint64) bool {
	c := &l.config
	newer := int64(0)
	for _, other := range l.pub.list {
		if other.subject == p.subject && (other.seq == 0 || other.seq > p.seq) {
			newer++
		}
	}
	return c.MaxMsgs > 0 && int64(last-p.seq) >= c.MaxMsgs || c.MaxMsgsPer > 0 && newer >= c.MaxMsgsPer ||
		c.MaxAge > 0 && now().Sub(p.first) > c.MaxAge-expirySlack
}

func (l *limited) purgedAway(p *publication) bool {
	for _, x := range l.purges {
		if (x.ended.IsZero() || p.first.Before(x.ended)) && !x.refused && x.covers(p.seq, p.subject) && l.newer(x, p.seq) >= x.request.Keep {
			return true
		}
	}
	return false
}

// newer counts the messages that a purge is about and that may be newer than one.
func (l *limited) newer(x *purge, seq uint64) (count uint64) {
	for _, p := range l.pub.list {
		if (p.seq == 0 || p.seq > seq) && x.covers(p.seq, p.subject) {
			count++
		}
	}
	return count
}

// covers tells whether a message is one of those that a purge is about.
func (p *purge) covers(seq uint64, subj string) bool {
	if p.one != 0 {
		return p.one == seq
	}
	return (p.request.Sequence == 0 || seq < p.request.Sequence) &&
		(p.request.Subject == "" || subject.NewFilter(p.request.Subject).Match(subj))
}

// gone looks for messages that stay though they were purged.
func (l *limited) gone(n *node, list []msg.Message, x *purge) {
	if x.ended.IsZero() || x.refused || l.holding.may(x.ended) {
		return
	}
	before := map[uint64]bool{}
	for _, p := range l.pub.list {
		if p.seq != 0 && p.acked.Before(x.sent) && !l.holding.may(p.acked) {
			before[p.seq] = true
		}
	}
	var left []uint64
	for _, m := range list {
		if before[m.Seq] && x.covers(m.Seq, m.Subject) {
			left = append(left, m.Seq)
		}
	}
	if len(left) > int(x.request.Keep) {
		l.world.fail("%s: %v stay after %+v", n.name, left, *x)
	}
}
