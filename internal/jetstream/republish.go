package jetstream

import (
	"strconv"
	"time"

	"weir/internal/api"
	"weir/internal/machine"
	"weir/internal/msg"
	"weir/internal/router"
	"weir/internal/subject"
	"weir/internal/wire"
)

// republishing sends the messages that came into a stream on to other subjects, at the stream's leader.
type republishing struct {
	of        *api.RePublish // what transform was made of
	transform *subject.Transform
	pending   []republished
}

// republished is a message to be sent on once it is in the store.
type republished struct {
	to       string
	m        msg.Message
	previous uint64
}

// gather notes what an entry stored. It runs on the apply worker, under the stream's lock.
func (r *republishing) gather(cfg *api.StreamConfig, e *machine.Effects) {
	if cfg.RePublish == nil {
		return
	}
	if r.of != cfg.RePublish {
		r.of, r.transform = cfg.RePublish, nil
		if t, err := subject.NewTransform(cfg.RePublish.Source, cfg.RePublish.Destination); err == nil {
			r.transform = t
		}
	}
	for i, previous := range e.Previous {
		if r.transform == nil {
			return
		}
		if to, ok := r.transform.Apply(e.Stored[i].Subject); ok {
			r.pending = append(r.pending, republished{to, e.Stored[i], previous})
		}
	}
}

// republish sends on what was gathered.
func (s *Stream) republish() {
	r := &s.after.republish
	if len(r.pending) > 0 && s.Leads() {
		var out router.Batch
		for i := range r.pending {
			s.republishOne(&r.pending[i], r.of.HeadersOnly, &out)
		}
		out.Flush()
	}
	r.pending = clearSlice(r.pending)
}

func (s *Stream) republishOne(p *republished, headersOnly bool, out *router.Batch) {
	hdr := p.m.Header
	hdr = wire.AppendHeader(hdr, "Nats-Stream", s.name)
	hdr = wire.AppendHeader(hdr, "Nats-Subject", p.m.Subject)
	hdr = wire.AppendHeader(hdr, "Nats-Sequence", strconv.FormatUint(p.m.Seq, 10))
	hdr = wire.AppendHeader(hdr, "Nats-Time-Stamp", time.Unix(0, p.m.Time).UTC().Format(time.RFC3339Nano))
	hdr = wire.AppendHeader(hdr, "Nats-Last-Sequence", strconv.FormatUint(p.previous, 10))
	data := p.m.Data
	if headersOnly {
		hdr = wire.AppendHeader(hdr, "Nats-Msg-Size", strconv.Itoa(len(data)))
		data = nil
	}
	s.node.cfg.Router.Publish(s.acc, router.Internal.InBatch(out), &router.Msg{Subject: []byte(p.to), Header: hdr, Payload: data})
}
