package sim

import (
	"strings"

	"weir/internal/base"
	"weir/internal/jetstream"
	"weir/internal/runner"
)

// requests takes the pulls and acks of a node's clients to where they belong.
type requests struct{ l *life }

func (q *requests) init(l *life) {
	q.l = l
	l.js.SetRequestHandler(q.handle)
}

func (q *requests) stop() {}

func (q *requests) handle(r *jetstream.Request) {
	stream, consumer, ok := jetstream.ConsumerOf(r.Subject)
	if !ok {
		return
	}
	place := q.l.js.ConsumerRunner(r.Account, stream, consumer)
	switch {
	case place.Here:
		q.run(r, stream, consumer)
	case place.Node != 0:
		q.forward(place.Node, r)
	}
}

func (q *requests) forward(to base.NodeID, r *jetstream.Request) {
	if err := q.l.js.Forward(to, r); err != nil {
		q.l.log.Debugf("forward %s: %v", r.Subject, err)
	}
}

func (q *requests) run(r *jetstream.Request, stream, consumer string) {
	s := q.l.js.Stream(r.Account, stream)
	if s == nil {
		return
	}
	run := s.Runner(consumer)
	if run == nil {
		return
	}
	if !strings.HasPrefix(r.Subject, "$JS.ACK.") {
		run.Pull(runner.PullRequest{Reply: r.Reply, Body: r.Body})
		return
	}
	numbers := strings.TrimPrefix(r.Subject, "$JS.ACK."+stream+"."+consumer+".")
	if a, ok := runner.ParseAckTokens(numbers); ok {
		a.Reply, a.Payload = r.Reply, r.Body
		run.Ack(a)
	}
}
