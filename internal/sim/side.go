package sim

import (
	"cmp"
	"fmt"
	"math"

	"weir/internal/api"
	"weir/internal/jetstream"
	"weir/internal/msg"
	"weir/internal/router"
	"weir/internal/subject"
)

// side is a stream beside the main one, or some, with clients and a checker of its own.
type side interface {
	// streams are the configurations that are asked for.
	streams() []api.StreamConfig
	// step does something by way of n.
	step(n *node)
	ear
	// unsettled goes on with what is left to do, by way of n, and says what that is.
	unsettled(n *node) string
	// check judges the end.
	check()
}

// ear is a client that hears.
type ear interface {
	// heard takes a message to _INBOX.<node>.<name of the ear>.<rest>.
	heard(l *life, rest string, m *router.Msg)
}

// drawSides draws the sides of a run: the registers, and some others.
func (w *world) drawSides() {
	w.registers.init(w)
	w.sides = map[string]side{"reg": &w.registers}
	w.sideNames = []string{"reg"}
	others := map[string]func(*world) side{
		"lim": newLimited, "bat": newBatched, "tim": newScheduled, "cop": newCopied, "arc": newArchived,
	}
	names := []string{"lim", "bat", "tim", "cop", "arc"}
	w.rand.Shuffle(len(names), func(i, j int) { names[i], names[j] = names[j], names[i] })
	for _, name := range names[:1+w.rand.IntN(2)] {
		w.sides[name] = others[name](w)
		w.sideNames = append(w.sideNames, name)
	}
	for _, name := range w.sideNames {
		w.ears[name] = w.sides[name]
		for _, cfg := range w.sides[name].streams() {
			w.streams = append(w.streams, cfg.Name)
			w.history.asks = append(w.history.asks, &ask{subject: "STREAM.CREATE." + cfg.Name, body: cfg})
		}
	}
}

// plainStream is a stream without limits.
func plainStream(name, subjects string, replicas int) api.StreamConfig {
	return api.StreamConfig{
		Name: name, Subjects: []string{subjects}, Retention: api.LimitsRetention, Storage: api.FileStorage,
		Discard: api.DiscardOld, Replicas: replicas, MaxMsgs: -1, MaxBytes: -1, MaxMsgsPer: -1, MaxMsgSize: -1, MaxConsumers: -1,
	}
}

// sidesUnsettled goes on with all sides; what it returns says what one of them has left.
func (w *world) sidesUnsettled() (left string) {
	for _, name := range w.sideNames {
		if own := w.sides[name].unsettled(w.someNode()); own != "" {
			left = cmp.Or(left, name+": "+own)
		}
		for _, cfg := range w.sides[name].streams() {
			left = cmp.Or(left, w.apart(cfg))
		}
	}
	return left
}

// apart says what keeps the replicas of a stream from being whole and equal; empty: nothing.
func (w *world) apart(cfg api.StreamConfig) string {
	replicas, applied, led := 0, uint64(0), false
	for _, n := range w.nodes {
		if !n.up() || n.life.host.clock.paused() {
			return n.name + " is away"
		}
		s := n.life.streamNamed(cfg.Name)
		if s == nil {
			continue
		}
		if replicas++; applied == 0 {
			applied = s.Applied()
		}
		st := s.Group().Status()
		led = led || s.Ready()
		if s.Failure() != nil || s.Applied() != applied || st.Joint || len(st.Learners) > 0 || len(st.Voters) != cfg.Replicas {
			return fmt.Sprintf("%s: the replica on %s has applied %d of %d, voters %v, learners %v, failure %v",
				cfg.Name, n.name, s.Applied(), applied, st.Voters, st.Learners, s.Failure())
		}
	}
	if replicas != cfg.Replicas || !led {
		return fmt.Sprintf("%s has %d replicas, not %d, or no leader: %t", cfg.Name, replicas, cfg.Replicas, led)
	}
	return ""
}

// eachReplica visits the replicas of a stream.
func (w *world) eachReplica(name string, visit func(n *node, s *jetstream.Stream)) {
	for _, n := range w.nodes {
		if n.up() {
			if s := n.life.streamNamed(name); s != nil {
				visit(n, s)
			}
		}
	}
}

// eachContent visits the replicas of a stream with all that each holds, but for those
// that are known to be damaged.
func (w *world) eachContent(name string, visit func(n *node, s *jetstream.Stream, list []msg.Message)) {
	w.eachReplica(name, func(n *node, s *jetstream.Stream) {
		if list, ok := w.messages(n, s); ok {
			visit(n, s, list)
		}
	})
}

// lastOf is the sequence of the last message of a stream, 0 if there is none.
func (w *world) lastOf(name string) (last uint64) {
	w.eachReplica(name, func(n *node, s *jetstream.Stream) {
		seq, _, err := s.Store().Reader().LastMatching(subject.NewFilter(), math.MaxUint64)
		if err != nil && !w.isDamaged(n, err) {
			w.fail("%s: last message of %s: %v", n.name, name, err)
		}
		last = max(last, seq)
	})
	return last
}

// messages are all that a replica holds; ok is false when it is known to be damaged.
func (w *world) messages(n *node, s *jetstream.Stream) (list []msg.Message, ok bool) {
	r := s.Store().Reader()
	for from := uint64(1); ; {
		var m msg.Message
		ok, err := r.Next(from, subject.NewFilter(), &m, nil)
		if w.isDamaged(n, err) {
			return nil, false // it was noticed, and is not served
		}
		if err != nil {
			w.fail("%s: read from %d: %v", n.name, from, err)
			return nil, false
		}
		if !ok {
			return list, true
		}
		list, from = append(list, m), m.Seq+1
	}
}
