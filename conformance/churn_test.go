package conformance

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"weir/conformance/procs"
)

// churnTags are what the five servers of TestReshapedUnderFaults are called.
var churnTags = [][]string{{"blue"}, {"blue"}, {"blue", "green"}, {"green"}, {"green"}}

// TestReshapedUnderFaults is TestConsumersUnderFaults on five nodes with the streams changed at the same time: scaled,
// moved, moves cancelled, peers removed, settings changed, consumers paused; a stream is deleted and made again while
// nodes are away. In the end everything is as it should be and all replicas are equal. WEIR_RESHAPE_TIME says how long
// it goes on; with WEIR_RESHAPE_CALM the nodes are left alone.
func TestReshapedUnderFaults(t *testing.T) {
	text := os.Getenv("WEIR_RESHAPE_TIME")
	if text == "" {
		t.Skip("needs WEIR_RESHAPE_TIME, as 5m")
	}
	during, err := time.ParseDuration(text)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), during+settleTime+time.Minute)
	defer cancel()
	c := startSpec(ctx, t, procs.Spec{Nodes: 5, Tags: func(i int) []string { return churnTags[i] }})
	nc, js := connectQuick(t, c.URLs())
	faults := newFaults(t, c, nc)
	ch := &churn{t: t, c: c, js: js, faults: faults, rand: rand.New(rand.NewPCG(faults.rand.Uint64(), 1)), done: map[string]int{}}
	for _, cfg := range trialStreams {
		cfg.Replicas, cfg.AllowDirect = 3, true
		if _, err := js.CreateStream(ctx, cfg); err != nil {
			t.Fatal(err)
		}
	}
	fs := startFollowers(ctx, t, c.URLs(), js, churnConsumers)
	p := startPacedPublishers(ctx, t, c.URLs())
	p.progress(ctx, t, 10)

	watched := watch(ctx, t, fs, c.URLs())
	var running sync.WaitGroup
	until, stop := context.WithTimeout(ctx, during)
	defer stop()
	running.Go(func() { ch.run(until, fs) })
	if os.Getenv("WEIR_RESHAPE_CALM") != "" {
		<-until.Done()
	} else {
		faults.run(ctx, during)
	}
	running.Wait()
	faults.heal(ctx)
	t.Logf("changes: %v", ch.done)
	ch.end(ctx, fs)
	watched()

	p.nextPhase()
	p.progress(ctx, t, 10)
	acked := p.finish(t)
	t.Logf("%d messages acknowledged; longest wait for an ack %v", len(acked), slices.Max(p.longest))
	checkFollowers(ctx, t, js, fs, acked)
	for _, cfg := range trialStreams {
		eventually(ctx, t, "replicas of "+cfg.Name+" are equal", func(ctx context.Context) error { return ch.equal(ctx, cfg.Name) })
	}
	ch.checkGhost(ctx)
}

// churnConsumers is how many consumers there are.
const churnConsumers = 75

// churn changes streams.
type churn struct {
	t      *testing.T
	c      *procs.Cluster
	js     jetstream.JetStream
	faults *faults
	rand   *rand.Rand
	done   map[string]int
	ghost  string // what each message of GHOST says; empty when it is deleted, "?" when nobody knows
	ghosts int
}

func (ch *churn) run(ctx context.Context, fs []*follower) {
	for ctx.Err() == nil {
		name := trialStreams[ch.rand.IntN(len(trialStreams))].Name
		what, err := ch.one(ctx, name, fs)
		ch.note(what, err)
		wait, cancel := context.WithTimeout(ctx, time.Duration(ch.rand.IntN(2000))*time.Millisecond)
		<-wait.Done()
		cancel()
	}
}

// note counts what was done; refusals are no fault.
func (ch *churn) note(what string, err error) {
	ch.t.Helper()
	if err != nil {
		what += ": " + err.Error()
	}
	ch.done[what]++
	ch.t.Logf("%s %s", time.Now().Format("15:04:05.000"), what)
}

func (ch *churn) one(ctx context.Context, name string, fs []*follower) (string, error) {
	cfg, err := ch.config(ctx, name)
	if err != nil {
		return "info of " + name, err
	}
	switch dice := ch.rand.IntN(100); {
	case dice < 25:
		cfg.Replicas = []int{1, 3, 5}[ch.rand.IntN(3)]
		if cfg.Placement != nil && cfg.Replicas == 5 {
			cfg.Placement = nil
		}
		return fmt.Sprintf("scale %s to %d", name, cfg.Replicas), ch.update(ctx, cfg)
	case dice < 45:
		tag := []string{"", "blue", "green"}[ch.rand.IntN(3)]
		if cfg.Placement = nil; tag != "" {
			cfg.Placement, cfg.Replicas = &jetstream.Placement{Tags: []string{tag}}, min(cfg.Replicas, 3)
		}
		err := ch.update(ctx, cfg)
		if err == nil && ch.rand.IntN(3) == 0 {
			return fmt.Sprintf("move %s to %q and cancel", name, tag), ch.ask(ctx, "$JS.API.STREAM.CANCEL_MOVE."+name, "")
		}
		return fmt.Sprintf("move %s to %q", name, tag), err
	case dice < 55:
		return ch.removePeer(ctx, name)
	case dice < 65:
		return "step-down of " + name, ch.ask(ctx, "$JS.API.STREAM.LEADER.STEPDOWN."+name, "")
	case dice < 75:
		f := fs[ch.rand.IntN(len(fs))]
		until := time.Now().Add(time.Duration(ch.rand.IntN(6)-1) * time.Second)
		return "pause of a consumer", ch.ask(ctx, "$JS.API.CONSUMER.PAUSE."+f.stream+"."+f.cfg.Durable, fmt.Sprintf(`{"pause_until":%q}`, until.Format(time.RFC3339Nano)))
	case dice < 90:
		ch.setting(&cfg)
		return "settings of " + name, ch.update(ctx, cfg)
	default:
		return ch.haunt(ctx)
	}
}

// setting changes what has nothing to do with what is kept.
func (ch *churn) setting(cfg *jetstream.StreamConfig) {
	switch ch.rand.IntN(6) {
	case 0:
		cfg.Compression = jetstream.S2Compression - cfg.Compression
	case 1:
		cfg.MaxMsgs = int64(10_000_000 + ch.rand.IntN(100))
	case 2:
		if cfg.RePublish != nil {
			cfg.RePublish = nil
		} else {
			cfg.RePublish = &jetstream.RePublish{Source: ">", Destination: "again.>"}
		}
	case 3:
		cfg.AllowDirect = !cfg.AllowDirect || cfg.Name == "LIMITS"
	case 4:
		cfg.Subjects = append(cfg.Subjects[:1:1], fmt.Sprintf("more.%s.%d", cfg.Name, ch.rand.IntN(10)))
	case 5:
		if cfg.Name == "INTEREST" {
			cfg.Retention = jetstream.InterestPolicy - cfg.Retention
		} else {
			cfg.MaxAge = time.Duration(1+ch.rand.IntN(5)) * time.Hour
		}
	}
}

func (ch *churn) removePeer(ctx context.Context, name string) (string, error) {
	s, err := ch.stream(ctx, name)
	if err != nil {
		return "peer-remove of " + name, err
	}
	cl := s.CachedInfo().Cluster
	peer := cl.Leader
	if n := ch.rand.IntN(len(cl.Replicas) + 1); n > 0 {
		peer = cl.Replicas[n-1].Name
	}
	if len(cl.Replicas) < 2 {
		return "no peer-remove of the last", nil
	}
	return "peer-remove of " + name, ch.ask(ctx, "$JS.API.STREAM.PEER.REMOVE."+name, fmt.Sprintf(`{"peer":%q}`, peer))
}

func (ch *churn) stream(ctx context.Context, name string) (jetstream.Stream, error) {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	return ch.js.Stream(ctx, name)
}

// config is what the stream is to be at the moment.
func (ch *churn) config(ctx context.Context, name string) (jetstream.StreamConfig, error) {
	s, err := ch.stream(ctx, name)
	if err != nil {
		return jetstream.StreamConfig{}, err
	}
	return s.CachedInfo().Config, nil
}

func (ch *churn) update(ctx context.Context, cfg jetstream.StreamConfig) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	_, err := ch.js.UpdateStream(ctx, cfg)
	return err
}

func (ch *churn) ask(ctx context.Context, subject, body string) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	return askAPI(ctx, ch.js.Conn(), subject, body)
}

// haunt deletes GHOST and, mostly, makes it anew with other messages.
func (ch *churn) haunt(ctx context.Context) (string, error) {
	limited, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	ch.ghost = "?"
	if err := ch.js.DeleteStream(limited, "GHOST"); err != nil && !errors.Is(err, jetstream.ErrStreamNotFound) {
		return "ghost", err
	}
	if ch.rand.IntN(4) == 0 {
		ch.ghost = ""
		return "ghost gone", nil
	}
	ch.ghosts++
	says := fmt.Sprint("generation ", ch.ghosts)
	s, err := ch.js.CreateStream(limited, jetstream.StreamConfig{Name: "GHOST", Subjects: []string{"ghost"}, Replicas: []int{1, 3, 5}[ch.rand.IntN(3)], AllowDirect: true})
	if err != nil {
		return "ghost", err
	}
	for range 1 + ch.rand.IntN(20) {
		if _, err := ch.js.Publish(limited, "ghost", []byte(says)); err != nil {
			return "ghost", err
		}
	}
	if _, err = s.CreateConsumer(limited, jetstream.ConsumerConfig{Durable: fmt.Sprint("g", ch.ghosts)}); err == nil {
		ch.ghost = says
	}
	return "ghost anew", err
}

func (ch *churn) checkGhost(ctx context.Context) {
	ch.t.Helper()
	s, err := ch.js.Stream(ctx, "GHOST")
	switch {
	case ch.ghost == "?":
		return
	case ch.ghost == "":
		if !errors.Is(err, jetstream.ErrStreamNotFound) {
			ch.t.Errorf("a deleted stream: %v", err)
		}
		return
	case err != nil:
		ch.t.Fatal(err)
	}
	st := s.CachedInfo().State
	for seq := st.FirstSeq; seq <= st.LastSeq; seq++ {
		m, err := s.GetMsg(ctx, seq)
		if err != nil || string(m.Data) != ch.ghost {
			ch.t.Errorf("%d of %s: %+v, %v", seq, ch.ghost, m, err)
		}
	}
	if st.Consumers != 1 {
		ch.t.Errorf("%d consumers of %s", st.Consumers, ch.ghost)
	}
	eventually(ctx, ch.t, "replicas of GHOST are equal", func(ctx context.Context) error { return ch.equal(ctx, "GHOST") })
}

// end brings all to three replicas anywhere, with no consumer paused.
func (ch *churn) end(ctx context.Context, fs []*follower) {
	ch.t.Helper()
	for _, end := range trialStreams {
		eventually(ctx, ch.t, "the last updates of "+end.Name, func(ctx context.Context) error {
			cfg, err := ch.config(ctx, end.Name)
			if err != nil {
				return err
			}
			cfg.Placement = nil // first, as a move and a change of replicas do not go together
			if err := ch.update(ctx, cfg); err != nil {
				return err
			}
			cfg.Replicas, cfg.AllowDirect, cfg.Retention = 3, true, end.Retention
			return ch.update(ctx, cfg)
		})
		eventually(ctx, ch.t, end.Name+" is settled", func(ctx context.Context) error { return ch.settled(ctx, end.Name) })
	}
	for _, f := range fs {
		eventually(ctx, ch.t, f.cfg.Durable+" is resumed", func(ctx context.Context) error {
			return ch.ask(ctx, "$JS.API.CONSUMER.PAUSE."+f.stream+"."+f.cfg.Durable, "{}")
		})
	}
}

func (ch *churn) settled(ctx context.Context, name string) error {
	s, err := ch.stream(ctx, name)
	if err != nil {
		return err
	}
	info := s.CachedInfo().Cluster
	if info == nil || info.Leader == "" || len(info.Replicas) != 2 {
		return fmt.Errorf("%+v", info)
	}
	for _, p := range info.Replicas {
		if !p.Current || p.Offline {
			return fmt.Errorf("follower %s: %+v", p.Name, *p)
		}
	}
	return nil
}

// equal wants the same of all nodes that have the stream, which are those that the leader names.
func (ch *churn) equal(ctx context.Context, name string) error {
	s, err := ch.stream(ctx, name)
	if err != nil {
		return err
	}
	want := []string{s.CachedInfo().Cluster.Leader}
	for _, p := range s.CachedInfo().Cluster.Replicas {
		want = append(want, p.Name)
	}
	slices.Sort(want)
	var have []string
	var first *replica
	for _, n := range ch.c.Nodes {
		r, err := replicaOn(ctx, n, name)
		if err != nil {
			continue
		}
		have = append(have, n.Name)
		if first == nil {
			first = r
		}
		if first.Applied != r.Applied || first.StateHash != r.StateHash {
			return fmt.Errorf("%s has %s at %d, %s has %s at %d", have[0], first.StateHash, first.Applied, n.Name, r.StateHash, r.Applied)
		}
	}
	if !slices.Equal(want, have) {
		return fmt.Errorf("%v have it, should be %v", have, want)
	}
	return nil
}
