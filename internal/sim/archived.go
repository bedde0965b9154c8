package sim

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"weir/internal/api"
	"weir/internal/jetstream"
	"weir/internal/msg"
	"weir/internal/router"
	"weir/internal/wire"
)

// archived is a stream that is backed up while messages are published to it, and of whose
// backups another stream is made, again and again. A backup that came to its end has what
// was acknowledged before it began; the stream that is restored has what the backup has.
type archived struct {
	world            *world
	config, restored api.StreamConfig
	pub              publisher

	mu     sync.Mutex
	number int // of backups and restores
	backup *backup
	last   *backup // that is complete
	work   *restoring
	holds  *backup // that the restored stream was made of, when the last restore is over
}

// backup is one that is under way or complete.
type backup struct {
	number int
	of     *life
	began  time.Time
	must   []*publication // that it has
	told   *api.StreamSnapshotResponse
	chunks [][]byte
	over   bool // complete, or given up
}

// restoring is a restore that is under way.
type restoring struct {
	number int
	of     *life
	from   *backup
	to     string // subject that takes chunks
	next   int    // chunk
	heard  time.Time
}

// patience is for how long a backup or restore may stand still until it is given up.
const patience = 6 * time.Second

func newArchived(w *world) side {
	a := &archived{world: w, config: plainStream("Z", "z.>", min(w.options.Nodes, 3))}
	a.restored = plainStream("ZR", "zr.>", a.config.Replicas)
	a.pub = publisher{world: w, inbox: "arc.pub.", subjects: "z.", letter: "z"}
	return a
}

func (a *archived) streams() []api.StreamConfig { return []api.StreamConfig{a.config} }

func (a *archived) step(n *node) {
	switch p := a.world.rand.IntN(100); {
	case p < 50:
		for range 1 + a.world.rand.IntN(20) {
			a.pub.publish(n)
		}
	case p < 65:
		a.pub.retry(n)
	case p < 80:
		a.backUp(n)
	default:
		a.restore(n)
	}
}

// backUp asks for a backup, unless one is under way.
func (a *archived) backUp(n *node) {
	a.mu.Lock()
	if b := a.backup; b != nil && !b.over && now().Sub(b.began) < patience {
		a.mu.Unlock()
		return
	}
	a.number++
	b := &backup{number: a.number, of: n.life, began: now(), must: a.pub.acknowledged()}
	a.backup = b
	a.mu.Unlock()
	inbox := fmt.Sprintf("_INBOX.%s.arc.backup.%d", n.name, b.number)
	a.say(n.life, apiPrefix+"STREAM.SNAPSHOT.Z", inbox, api.StreamSnapshotRequest{DeliverSubject: inbox, ChunkSize: 1024})
}

// restore asks for the other stream to go and to be made of the last backup, unless that is under way.
func (a *archived) restore(n *node) {
	a.mu.Lock()
	if a.last == nil || a.work != nil && now().Sub(a.work.heard) < patience {
		a.mu.Unlock()
		return
	}
	a.number++
	a.work, a.holds = &restoring{number: a.number, of: n.life, from: a.last, heard: now()}, nil
	inbox := a.inbox(a.work, "gone")
	a.mu.Unlock()
	a.say(n.life, apiPrefix+"STREAM.DELETE.ZR", inbox, nil)
}

func (a *archived) inbox(r *restoring, kind string) string {
	return fmt.Sprintf("_INBOX.%s.arc.%s.%d", r.of.node.name, kind, r.number)
}

// say sends a document as a client of a node.
func (a *archived) say(l *life, subject, reply string, doc any) {
	var body []byte
	if doc != nil {
		var err error
		if body, err = json.Marshal(doc); err != nil {
			a.world.fail("%s: %v", subject, err)
		}
	}
	a.send(l, subject, reply, body)
}

func (a *archived) send(l *life, subject, reply string, body []byte) {
	l.router.Publish(l.account(), router.Internal, &router.Msg{Subject: []byte(subject), Reply: []byte(reply), Payload: body})
}

func (a *archived) heard(l *life, rest string, m *router.Msg) {
	kind, id, _ := strings.Cut(rest, ".")
	if kind == "pub" {
		a.pub.answered(id, m.Payload)
		return
	}
	number, err := strconv.Atoi(id)
	if err != nil {
		a.world.fail("message to %q", rest)
		return
	}
	var send func()
	a.mu.Lock()
	if b := a.backup; kind == "backup" && b != nil && b.number == number && b.of == l && !b.over {
		send = a.chunk(b, m)
	}
	if r := a.work; r != nil && r.number == number && r.of == l {
		r.heard = now()
		send = a.goOn(r, kind, slices.Clone(m.Payload))
	}
	a.mu.Unlock()
	if send != nil {
		a.world.background.Go(send) // the answer may be here at once
	}
}

// chunk takes what comes of a backup, and returns what is to be done about it. The caller holds mu.
func (a *archived) chunk(b *backup, m *router.Msg) func() {
	code, _, isStatus := wire.Status(m.Header)
	switch {
	case isStatus:
		if b.over = true; code == 204 {
			a.last = b
		}
		a.world.logf("backup %d ends with %d, %d chunks", b.number, code, len(b.chunks))
	case b.told == nil:
		b.told = new(api.StreamSnapshotResponse)
		if err := json.Unmarshal(m.Payload, b.told); err != nil || b.told.Error != nil {
			a.world.logf("backup %d: %s", b.number, m.Payload)
			b.over = true
		}
	default:
		b.chunks = append(b.chunks, slices.Clone(m.Payload))
		reply := string(m.Reply)
		if reply == "" {
			return nil
		}
		if !strings.HasSuffix(reply, fmt.Sprint(".", len(b.chunks))) {
			a.world.logf("backup %d: a chunk before %s is lost", b.number, reply)
			b.over = true
			return nil
		}
		return func() { a.send(b.of, reply, "", nil) }
	}
	return nil
}

// goOn takes an answer to a restore, and returns what is to be done next. The caller holds mu.
func (a *archived) goOn(r *restoring, kind string, body []byte) func() {
	var answer api.StreamRestoreResponse
	if len(body) > 0 && json.Unmarshal(body, &answer) != nil {
		a.world.logf("restore %d: %s", r.number, body)
		a.work = nil
		return nil
	}
	switch kind {
	case "gone": // or was not there
		cfg := *r.from.told.Config
		cfg.Name, cfg.Subjects = a.restored.Name, a.restored.Subjects
		inbox := a.inbox(r, "ready")
		return func() {
			a.say(r.of, apiPrefix+"STREAM.RESTORE.ZR", inbox, api.StreamRestoreRequest{Config: cfg, State: *r.from.told.State})
		}
	case "ready":
		if r.to = answer.DeliverSubject; answer.Error != nil {
			a.world.logf("restore %d: %v", r.number, answer.Error)
			a.work = nil
			return nil
		}
	case "chunk":
		if r.next++; r.next > len(r.from.chunks) {
			if a.work = nil; answer.Error == nil {
				a.holds = r.from
			}
			a.world.logf("restore %d of backup %d: %v", r.number, r.from.number, answer.Error)
			return nil
		}
	}
	var data []byte
	if r.next < len(r.from.chunks) {
		data = r.from.chunks[r.next]
	}
	to, inbox := r.to, a.inbox(r, "chunk")
	return func() { a.send(r.of, to, inbox, data) }
}

// unsettled goes on until the other stream is there as a backup has it.
func (a *archived) unsettled(n *node) string {
	a.pub.retry(n)
	if left := a.pub.unacknowledged(); len(left) > 0 {
		return fmt.Sprintf("%d publishes are not acknowledged, %s for one", len(left), left[0].id)
	}
	a.mu.Lock()
	complete, restored := a.last != nil, a.holds != nil
	a.mu.Unlock()
	switch {
	case !complete:
		a.backUp(n)
		return "no backup is complete"
	case !restored:
		a.restore(n)
		return "no restore is complete"
	}
	return a.world.apart(a.restored)
}

func (a *archived) check() {
	a.world.eachContent(a.config.Name, func(n *node, _ *jetstream.Stream, list []msg.Message) {
		a.compare(n, a.config.Name, list, a.pub.acknowledged())
	})
	if a.holds == nil {
		return // said before
	}
	a.world.eachContent(a.restored.Name, func(n *node, _ *jetstream.Stream, list []msg.Message) {
		a.compare(n, a.restored.Name, list, a.holds.must)
		if state := a.holds.told.State; uint64(len(list)) != state.Msgs {
			a.world.fail("%s: %d messages were restored, of %d", n.name, len(list), state.Msgs)
		}
	})
}

// compare looks for what a replica has to hold.
func (a *archived) compare(n *node, name string, list []msg.Message, must []*publication) {
	at := map[uint64]string{}
	for _, m := range list {
		at[m.Seq] = string(m.Data)
	}
	for _, p := range must {
		if at[p.seq] != p.id {
			a.world.fail("%s: %s holds %q at %d, where %s was acknowledged", n.name, name, at[p.seq], p.seq, p.id)
		}
	}
}
