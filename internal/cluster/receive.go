package cluster

import (
	"encoding/json"
	"fmt"
	"time"

	"weir/internal/router"
	"weir/internal/subject"
)

// receiver handles the frames of one link, on its reader's goroutine.
type receiver struct {
	link       *link
	batch      router.Batch
	message    message
	queues     []string
	inbound    *router.Inbound
	queueNames names
}

// takeFrames handles every whole frame in buf; rest is what is left, and size
// the length of the frame that rest is the beginning of, if known.
func (in *receiver) takeFrames(buf []byte) (rest []byte, size int, err error) {
	for {
		t, body, rest, size, ok, err := nextFrame(buf, maxFrame)
		if err != nil || !ok {
			in.batch.Flush()
			return rest, size, err
		}
		in.link.stats.inFrames.Add(1)
		if err := in.take(t, body); err != nil {
			return nil, 0, err
		}
		buf = rest
	}
}

func (in *receiver) take(t frameType, body []byte) error {
	l := in.link
	switch {
	case t == framePing:
		stamp, err := decodeStamp(body)
		if err == nil {
			l.sendControl(appendPing(nil, framePong, stamp))
		}
		return err
	case t == framePong:
		stamp, err := decodeStamp(body)
		if err == nil {
			l.stats.rtt.Store(l.mesh.cfg.Clock.Now().Sub(time.Unix(0, int64(stamp))).Nanoseconds())
		}
		return err
	case t == frameRefuse:
		return decodeRefusal(body)
	case t == frameRaft && l.kind == linkRaft:
		l.mesh.handler.Raft(l.node, body)
		return nil
	case l.kind == linkData:
		return in.takeData(t, body)
	}
	return fmt.Errorf("%w: type %d on the %s link", errMalformed, t, l.kind)
}

func (in *receiver) takeData(t frameType, body []byte) error {
	l := in.link
	switch t {
	case frameMessage:
		return in.takeMessage(body)
	case frameInterest:
		return in.takeInterest(body)
	case frameRequest:
		if len(body) == 0 {
			return fmt.Errorf("%w: request", errMalformed)
		}
		// What was published before the request is delivered before it.
		in.batch.Flush()
		l.mesh.handler.Request(l.node, body[0], body[1:])
	case frameInterestDone:
		l.mesh.synced(l)
	case frameInfo:
		var a announcement
		if err := json.Unmarshal(body, &a); err != nil {
			return fmt.Errorf("%w: %w", errMalformed, err)
		}
		l.mesh.announced(l, &a)
	default:
		return fmt.Errorf("%w: type %d on the %s link", errMalformed, t, l.kind)
	}
	return nil
}

func (in *receiver) takeMessage(body []byte) error {
	if err := in.message.decode(body); err != nil {
		return err
	}
	in.queues = in.queues[:0]
	for _, queue := range in.message.queues {
		in.queues = append(in.queues, in.queueNames.get(queue))
	}
	in.link.stats.inMessages.Add(1)
	in.inbound.Deliver(in.message.account, &in.message.msg, in.queues)
	return nil
}

func (in *receiver) takeInterest(body []byte) error {
	got, err := decodeInterest(body)
	if err != nil {
		return err
	}
	if !subject.Valid(got.subject) || got.account == "" {
		return fmt.Errorf("%w: interest of account %q in %q", errMalformed, got.account, got.subject)
	}
	in.link.mesh.router.RemoteInterest(in.link, got.account, got.subject, got.queue, got.count)
	return nil
}

// maxNames bounds a names table, which starts again when it is full.
const maxNames = 4096

// names keeps one string per name, so that a name that has been seen costs no
// allocation.
type names map[string]string

func (n names) get(b []byte) string {
	if s, ok := n[string(b)]; ok {
		return s
	}
	if len(n) >= maxNames {
		clear(n)
	}
	s := string(b)
	n[s] = s
	return s
}
