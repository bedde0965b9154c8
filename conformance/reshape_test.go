package conformance

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"weir/conformance/procs"
)

// reservedBytes is what the stream reserves on each of its nodes.
const reservedBytes = 1 << 28

// reshapeAcks is what each publisher gets acknowledged between two changes.
const reshapeAcks = 20

// reshaper changes a stream while publishers and consumers use it.
type reshaper struct {
	t       *testing.T
	ctx     context.Context
	cluster *procs.Cluster
	nc      *nats.Conn
	js      jetstream.JetStream
	load    *publishers
	config  jetstream.StreamConfig
	on      []string // where it should be, in order; nil for anywhere
}

// TestReshapedStream scales and moves a stream, cancels moves, takes peers out, has leaders
// step down and changes the retention, under load: nothing that was acknowledged is lost,
// consumers keep their positions, and nothing comes back after its ack was confirmed.
// What each change costs the publishers is logged.
func TestReshapedStream(t *testing.T) {
	ctx := trialContext(t)
	c := startSpec(ctx, t, procs.Spec{Nodes: 5, Tags: func(i int) []string {
		return [][]string{{"blue"}, {"blue"}, {"blue", "green"}, {"green"}, {"green"}}[i]
	}})
	nc, js := connect(t, c.URLs())
	r := &reshaper{t: t, ctx: ctx, cluster: c, nc: nc, js: js, config: jetstream.StreamConfig{Name: "RESHAPED", Subjects: []string{"work.>"}, Replicas: 1, MaxBytes: reservedBytes}}
	stream, err := js.CreateStream(ctx, r.config)
	if err != nil {
		t.Fatal(err)
	}
	workers := r.startWorkers(stream,
		jetstream.ConsumerConfig{Durable: "all"},
		jetstream.ConsumerConfig{Durable: "one", FilterSubject: "work.1"},
		jetstream.ConsumerConfig{Durable: "few", MaxAckPending: 20},
		jetstream.ConsumerConfig{Durable: "thrice", FilterSubject: "work.2", MaxDeliver: 1000},
	)
	r.load = startPublishers(ctx, t, c.URLs(), "work", publisherCount)
	r.load.progress(ctx, t, reshapeAcks)

	r.scales()
	r.moves()
	r.change("retention limits to interest", func() error {
		return r.update(func(c *jetstream.StreamConfig) { c.Retention = jetstream.InterestPolicy })
	})
	r.scales()
	r.peers()
	r.refused()

	acked := r.load.finish(t)
	for _, w := range workers {
		w.finish(ctx, t)
	}
	r.check(acked, workers)
	r.usage()
}

func (r *reshaper) startWorkers(s jetstream.Stream, configs ...jetstream.ConsumerConfig) (workers []*worker) {
	r.t.Helper()
	for _, cfg := range configs {
		cfg.AckPolicy, cfg.AckWait = jetstream.AckExplicitPolicy, ackWait
		c, err := s.CreateConsumer(r.ctx, cfg)
		if err != nil {
			r.t.Fatal(err)
		}
		workers = append(workers, startWorker(r.ctx, c))
	}
	return workers
}

// scales goes up to five replicas and back.
func (r *reshaper) scales() {
	for _, n := range []int{3, 5, 3, 1, 3} {
		if n == r.config.Replicas {
			continue
		}
		what := fmt.Sprintf("%d to %d replicas", r.config.Replicas, n)
		r.change(what, func() error { return r.update(func(c *jetstream.StreamConfig) { c.Replicas = n }) })
	}
}

// moves goes between tags, and back on the way.
func (r *reshaper) moves() {
	nodes := map[string][]string{"blue": {"n1", "n2", "n3"}, "green": {"n3", "n4", "n5"}}
	to := func(tag string) error {
		r.on = nodes[tag]
		return r.update(func(c *jetstream.StreamConfig) { c.Placement = &jetstream.Placement{Tags: []string{tag}} })
	}
	r.change("move to blue", func() error { return to("blue") })
	r.change("move to green", func() error { return to("green") })
	r.change("move to blue, cancelled", func() error {
		if err := to("blue"); err != nil {
			return err
		}
		if err := r.ask("$JS.API.STREAM.CANCEL_MOVE.RESHAPED", ""); err != nil {
			r.t.Logf("the move was over: %v", err)
			return to("green")
		}
		r.on, r.config.Placement = nodes["green"], &jetstream.Placement{Tags: []string{"green"}}
		return nil
	})
	r.on = nil
	r.change("move to anywhere", func() error { return r.update(func(c *jetstream.StreamConfig) { c.Placement = nil }) })
}

// peers takes the leader out, then a follower, and has leaders step down.
func (r *reshaper) peers() {
	for _, which := range []int{0, 1} {
		peer := r.members()[which]
		r.change(fmt.Sprintf("peer %s removed, the %s", peer, []string{"leader", "first follower"}[which]), func() error {
			return r.ask("$JS.API.STREAM.PEER.REMOVE.RESHAPED", fmt.Sprintf(`{"peer":%q}`, peer))
		})
		if slices.Contains(r.members(), peer) {
			r.t.Errorf("%s was removed and is a member", peer)
		}
	}
	for range 3 {
		r.change("step-down", func() error { return r.ask("$JS.API.STREAM.LEADER.STEPDOWN.RESHAPED", "") })
	}
}

// refused tries what is not allowed while the stream is used.
func (r *reshaper) refused() {
	r.t.Helper()
	before := r.config
	err := r.update(func(c *jetstream.StreamConfig) { c.Retention = jetstream.WorkQueuePolicy })
	if api := new(jetstream.APIError); !errors.As(err, &api) || api.ErrorCode != 10052 {
		r.t.Errorf("from interest to a work queue: %v", err)
	}
	r.config = before
}

// change does something and waits until the stream is settled and the publishers go on.
func (r *reshaper) change(what string, do func() error) {
	r.t.Helper()
	r.load.nextPhase()
	phase, began := r.load.inPhase(), time.Now()
	if err := do(); err != nil {
		r.t.Fatalf("%s: %v", what, err)
	}
	r.members()
	took := time.Since(began)
	r.reserved()
	r.load.progress(r.ctx, r.t, reshapeAcks)
	r.load.nextPhase()
	r.load.mu.Lock()
	defer r.load.mu.Unlock()
	r.t.Logf("%-32s settled after %6.0f ms, longest ack wait %5.0f ms", what, ms(took), ms(r.load.longest[phase]))
	if got := r.load.longest[phase]; got >= longestAckWait {
		r.t.Errorf("%s: an ack took %v, want less than %v", what, got, longestAckWait)
	}
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

func (r *reshaper) update(edit func(*jetstream.StreamConfig)) error {
	edit(&r.config)
	ctx, cancel := context.WithTimeout(r.ctx, 10*time.Second)
	defer cancel()
	for {
		_, err := r.js.UpdateStream(ctx, r.config)
		if api := new(jetstream.APIError); !errors.As(err, &api) || api.ErrorCode != reconfigurationRuns && api.ErrorCode != moveRuns {
			return err
		}
		pause(ctx)
	}
}

// Errors of nats-server while the last change is under way, although the stream looks settled.
const (
	moveRuns            = 10124
	reconfigurationRuns = 10226
)

// ask makes a request that the Go client has no call for.
func (r *reshaper) ask(subject, body string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	return askAPI(ctx, r.nc, subject, body)
}

// askAPI makes a request to the API; what it answers beside an error is of no interest.
func askAPI(ctx context.Context, nc *nats.Conn, subject, body string) error {
	m, err := nc.RequestWithContext(ctx, subject, []byte(body))
	if err != nil {
		return err
	}
	var answer struct {
		Error *jetstream.APIError `json:"error"`
	}
	if err := json.Unmarshal(m.Data, &answer); err != nil {
		return err
	}
	if answer.Error != nil {
		return answer.Error
	}
	return nil
}

// members waits until the stream has the replicas that it should and all of them are
// current. The leader is the first.
func (r *reshaper) members() (names []string) {
	r.t.Helper()
	eventually(r.ctx, r.t, "the stream is settled", func(ctx context.Context) error {
		s, err := r.js.Stream(ctx, r.config.Name)
		if err != nil {
			return err
		}
		info := s.CachedInfo().Cluster
		if info == nil || info.Leader == "" || len(info.Replicas) != r.config.Replicas-1 {
			return fmt.Errorf("want %d replicas: %+v", r.config.Replicas, info)
		}
		names = []string{info.Leader}
		for _, p := range info.Replicas {
			if !p.Current || p.Offline {
				return fmt.Errorf("follower %s: %+v", p.Name, *p)
			}
			names = append(names, p.Name)
		}
		if got := slices.Sorted(slices.Values(names)); r.on != nil && !slices.Equal(got, r.on) {
			return fmt.Errorf("on %v, not on %v", got, r.on)
		}
		return nil
	})
	return names
}

// check wants each acknowledged message to be stored once and to have reached those who
// want it.
func (r *reshaper) check(acked map[string]uint64, workers []*worker) {
	r.t.Helper()
	ids := make(map[uint64]string, len(acked))
	for id, seq := range acked {
		if other, ok := ids[seq]; ok {
			r.t.Errorf("%s and %s are acknowledged at %d", id, other, seq)
		}
		ids[seq] = id
	}
	for _, w := range workers {
		filter := w.consumer.CachedInfo().Config.FilterSubject
		for seq, id := range ids {
			wanted := filter == "" || filter == "work."+id[1:2]
			if n := w.delivered[seq]; wanted != (n > 0) {
				r.t.Errorf("%s at %d was delivered %d times to %s", id, seq, n, w.consumer.CachedInfo().Name)
			}
		}
	}
	eventually(r.ctx, r.t, "what everybody has acked is removed", func(ctx context.Context) error {
		s, err := r.js.Stream(ctx, r.config.Name)
		if err != nil {
			return err
		}
		st := s.CachedInfo().State
		if st.LastSeq != uint64(len(acked)) {
			r.t.Fatalf("%d messages are acknowledged, the last of the stream is %d", len(acked), st.LastSeq)
		}
		if st.Msgs > 0 {
			return fmt.Errorf("%d messages are left", st.Msgs)
		}
		return nil
	})
	r.t.Logf("%d messages acknowledged and delivered", len(acked))
}

// held is what a server's /jsz says, or the sum of several.
type held struct {
	Storage  uint64 `json:"storage"`
	Reserved uint64 `json:"reserved_storage"`
}

// servers sums up what the nodes say of themselves.
func (r *reshaper) servers(ctx context.Context) (sum held, err error) {
	for _, n := range r.cluster.Nodes {
		var h held
		if err := n.Get(ctx, "/jsz", &h); err != nil {
			return sum, err
		}
		sum.Storage += h.Storage
		sum.Reserved += h.Reserved
	}
	return sum, nil
}

// reserved wants the account and the servers together to tell of what the stream reserves
// on each of its nodes, and of nothing else.
func (r *reshaper) reserved() {
	r.t.Helper()
	want := uint64(r.config.Replicas) * reservedBytes
	eventually(r.ctx, r.t, "reservations add up", func(ctx context.Context) error {
		account, err := r.js.AccountInfo(ctx)
		if err != nil {
			return err
		}
		sum, err := r.servers(ctx)
		if err == nil && (account.ReservedStore != want || sum.Reserved != want) {
			err = fmt.Errorf("%d reserved by the account, %d on the servers, want %d", account.ReservedStore, sum.Reserved, want)
		}
		return err
	})
}

// usage wants the account and the servers together to tell of what the replicas hold.
func (r *reshaper) usage() {
	r.t.Helper()
	for i := range 50 {
		if _, err := r.js.Publish(r.ctx, "work.1", fmt.Append(nil, "left ", i)); err != nil {
			r.t.Fatal(err)
		}
	}
	eventually(r.ctx, r.t, "usage adds up", func(ctx context.Context) error {
		s, err := r.js.Stream(ctx, r.config.Name)
		if err != nil {
			return err
		}
		account, err := r.js.AccountInfo(ctx)
		if err != nil {
			return err
		}
		sum, err := r.servers(ctx)
		want := uint64(r.config.Replicas) * s.CachedInfo().State.Bytes
		if err == nil && (want == 0 || account.Store != want || sum.Storage != want || account.Streams != 1 || account.Consumers != s.CachedInfo().State.Consumers) {
			err = fmt.Errorf("the account tells of %d streams, %d consumers and %d bytes, the servers of %d bytes; want %d bytes",
				account.Streams, account.Consumers, account.Store, sum.Storage, want)
		}
		return err
	})
}
