package differential

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
)

// Side has a connection to one server for each of its users; "" is the one of the
// account without limits.
type Side map[string]*nats.Conn

// Pair is a connection to each server.
type Pair struct {
	Weir, Nats Side
	// Lag is how long a read may be behind: 0 unless there are replicas.
	Lag time.Duration
	// Check, if set, is given every document; what Weir answers has to pass where the
	// other server's answer does.
	Check func(s *step, m *nats.Msg) error

	changes []change // of streams, in order
}

// change is a step that changed streams, and when that was done.
type change struct {
	*step
	at time.Time
}

// finding is the first step of a run whose answers differ.
type finding struct {
	at          int
	step        *step
	differences []difference
}

const (
	// lagPause is between two tries of a read.
	lagPause = 20 * time.Millisecond
	// usageLag is how long the servers of the other cluster keep to themselves what
	// their streams hold.
	usageLag = 10 * time.Second
	// changeLag is how long a change of a stream may need until all nodes of a busy machine know of it.
	changeLag = 2 * time.Second
)

// errApart ends a run whose servers are no longer in the same state, on purpose.
var errApart = errors.New("the servers went apart")

// run does the steps and returns the first difference, nil if there is none.
func (p *Pair) run(ctx context.Context, steps []*step) (*finding, error) {
	if err := p.clear(ctx); err != nil {
		return nil, err
	}
	for i, s := range steps {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		differences, err := p.do(s)
		if errors.Is(err, errApart) {
			return nil, nil
		}
		if err != nil {
			return nil, fmt.Errorf("step %d, %s: %w", i, s, err)
		}
		if len(differences) > 0 {
			return &finding{i, s, differences}, nil
		}
	}
	return nil, nil
}

func (p *Pair) do(s *step) ([]difference, error) {
	deadline := time.Now().Add(p.Lag)
	if p.Lag > 0 && s.subject == "$JS.API.INFO" {
		deadline = time.Now().Add(usageLag)
	}
	begun := time.Now()
	defer func() {
		if strings.HasPrefix(s.subject, "$JS.API.STREAM.") && !s.reads() {
			p.changes = append(p.changes, change{s, time.Now()})
		}
	}()
	p.changes = slices.DeleteFunc(p.changes, func(c change) bool { return begun.Sub(c.at) > changeLag })
	for tries := 1; ; tries++ {
		weir, err := ask(p.Weir[s.as], s)
		if err != nil {
			return nil, err
		}
		nats, err := ask(p.Nats[s.as], s)
		if err != nil {
			return nil, err
		}
		if differences := p.check(s, weir); len(differences) > 0 && len(p.check(s, nats)) == 0 {
			return differences, nil
		}
		differences := compare("", weir.document(), nats.document())
		if p.accepted(s, weir, nats) {
			if apart(s, weir, nats) {
				return nil, errApart
			}
			differences = nil
		}
		if len(differences) == 0 || !s.reads() || tries > 1 && time.Now().After(deadline) {
			return differences, nil
		}
		time.Sleep(lagPause)
	}
}

// before are the changes of streams shortly before the step that is under way.
func (p *Pair) before() (steps []*step) {
	for _, c := range p.changes {
		steps = append(steps, c.step)
	}
	return steps
}

// check looks at the answers of one server alone.
func (p *Pair) check(s *step, a *answer) (all []difference) {
	if p.Check == nil || failure(a) != 0 { // a failed list says that it is empty, too
		return nil
	}
	for _, m := range a.msgs {
		if err := p.Check(s, m); err != nil {
			all = append(all, difference{"schema", err.Error(), ""})
		}
	}
	return all
}

// withStreams are the users who may have streams.
func (s Side) withStreams() []*nats.Conn { return []*nats.Conn{s[""], s[limitedUser]} }

// clear deletes all streams of both servers.
func (p *Pair) clear(ctx context.Context) error {
	for _, nc := range slices.Concat(p.Weir.withStreams(), p.Nats.withStreams()) {
		if err := clearStreams(ctx, nc); err != nil {
			return err
		}
	}
	return nil
}

func clearStreams(ctx context.Context, nc *nats.Conn) error {
	js, err := nc.JetStream(nats.Context(ctx))
	if err != nil {
		return err
	}
	for name := range js.StreamNames(nats.Context(ctx)) {
		if err := js.DeleteStream(name, nats.Context(ctx)); err != nil {
			return fmt.Errorf("delete %s: %w", name, err)
		}
	}
	return nil
}

// shrink leaves out steps while the last one's answers still differ in the same
// places.
func (p *Pair) shrink(ctx context.Context, steps []*step, f *finding) ([]*step, *finding, error) {
	steps = append([]*step(nil), steps[:f.at+1]...)
	for size := len(steps) / 2; size > 0; size /= 2 {
		for from := len(steps) - 1 - size; from >= 0; from -= size {
			fewer := append(append([]*step(nil), steps[:from]...), steps[from+size:]...)
			g, err := p.run(ctx, fewer)
			if err != nil {
				return nil, nil, err
			}
			if g != nil && g.at == len(fewer)-1 && g.differences[0].path == f.differences[0].path {
				steps, f = fewer, g
			}
		}
	}
	return steps, f, nil
}
