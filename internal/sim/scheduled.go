package sim

import (
	"encoding/json"
	"fmt"
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

// scheduled is a stream of messages that are to come at a time. Each comes once and not
// before its time, and then its schedule is gone.
type scheduled struct {
	world  *world
	config api.StreamConfig

	mu   sync.Mutex
	list []*plan
}

// plan is a message that is to come.
type plan struct {
	due   time.Time
	again time.Time // when to try again
	acked bool
}

// maxAhead is how far ahead plans are.
const maxAhead = 15 * time.Second

func newScheduled(w *world) side {
	s := &scheduled{world: w, config: plainStream("T", "t.>", min(w.options.Nodes, 3))}
	s.config.AllowMsgSchedules = true
	return s
}

func (s *scheduled) streams() []api.StreamConfig { return []api.StreamConfig{s.config} }

func (s *scheduled) step(n *node) {
	if s.world.chance(30) {
		s.retry(n)
		return
	}
	s.mu.Lock()
	s.list = append(s.list, &plan{due: now().Add(s.world.between(0, maxAhead))})
	i := len(s.list) - 1
	s.mu.Unlock()
	s.try(n, i)
}

func (s *scheduled) try(n *node, i int) {
	s.mu.Lock()
	p := s.list[i]
	p.again = now().Add(s.world.between(300*time.Millisecond, 2*time.Second))
	s.mu.Unlock()
	header := wire.HeaderBlock("Nats-Msg-Id", fmt.Sprint("t", i), "Nats-Schedule", "@at "+p.due.UTC().Format(time.RFC3339Nano),
		"Nats-Schedule-Target", fmt.Sprint("t.due.", i))
	n.say(fmt.Sprint("t.plan.", i), fmt.Sprintf("_INBOX.%s.tim.%d", n.name, i), header, fmt.Append(nil, i))
}

// retry publishes again what nobody acknowledged in time.
func (s *scheduled) retry(n *node) (left int) {
	for i, p := range s.list {
		s.mu.Lock()
		acked := p.acked
		s.mu.Unlock()
		if acked {
			continue
		}
		left++
		if now().After(p.again) {
			s.try(n, i)
		}
	}
	return left
}

func (s *scheduled) heard(_ *life, rest string, m *router.Msg) {
	i, err := strconv.Atoi(rest)
	var a api.PubAck
	if err2 := json.Unmarshal(m.Payload, &a); err != nil || err2 != nil {
		s.world.fail("schedule %s: answer %q", rest, m.Payload)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if a.Error != nil {
		s.world.logf("schedule %s refused: %v", rest, a.Error)
		return
	}
	s.list[i].acked = true
}

func (s *scheduled) unsettled(n *node) string {
	if left := s.retry(n); left > 0 {
		return fmt.Sprintf("%d schedules are not acknowledged", left)
	}
	waiting := ""
	s.world.eachContent(s.config.Name, func(n *node, _ *jetstream.Stream, list []msg.Message) {
		for _, m := range list {
			if strings.HasPrefix(m.Subject, "t.plan.") {
				waiting = fmt.Sprintf("schedule %s is still there on %s", m.Data, n.name)
			}
		}
	})
	return waiting
}

func (s *scheduled) check() {
	s.world.eachContent(s.config.Name, func(n *node, _ *jetstream.Stream, list []msg.Message) {
		came := map[string][]msg.Message{}
		for _, m := range list {
			came[m.Subject] = append(came[m.Subject], m)
		}
		for i, p := range s.list {
			got := came[fmt.Sprint("t.due.", i)]
			if len(got) != 1 {
				s.world.fail("%s: scheduled message %d came %d times", n.name, i, len(got))
				continue
			}
			if at := time.Unix(0, got[0].Time); at.Before(p.due) {
				s.world.fail("%s: scheduled message %d came at %v, %v too early", n.name, i, at, p.due.Sub(at))
			}
			if string(got[0].Data) != strconv.Itoa(i) {
				s.world.fail("%s: scheduled message %d is %q", n.name, i, got[0].Data)
			}
		}
	})
}
