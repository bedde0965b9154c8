package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"weir/conformance/procs"
)

const (
	scaleStream  = "SCALE"
	scalePrefix  = "scale." // of all subjects
	scalePull    = `{"batch":1000,"expires":900000000000}`
	scaleCreates = 256 // create requests under way
	scaleRounds  = 7   // of a message to some of the consumers; the median counts
)

// scaleSets are how many consumers a message may be for. A consumer filters its
// own subject, "scale.own.<number>", that of all consumers, and those of the sets
// that it belongs to, "scale.<size>".
var scaleSets = [...]int{1, 100, 10_000}

// scaleWork is the measurement of one cluster.
type scaleWork struct {
	ctx     context.Context
	cluster *procs.Cluster
	n       int
	idle    time.Duration
	put     func(figure, value string)

	conns   []*nats.Conn
	js      jetstream.JetStream
	runners map[string]int // consumers by the name of the node that ran them first

	mu      sync.Mutex
	got     []int // by consumer: the last round that it delivered the message of
	round   int
	missing int // consumers that have not delivered this round's message
	all     chan struct{}
	pulled  []atomic.Int64 // by consumer: when it was pulled from last, unix ns
}

func (w *scaleWork) close() {
	for _, nc := range w.conns {
		nc.Close()
	}
}

func (w *scaleWork) run() error {
	for _, step := range []func() error{w.makeStream, w.costs, w.attach, w.latencies, w.failover} {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

func (w *scaleWork) connect(n *procs.Node) (*nats.Conn, error) {
	nc, err := nats.Connect(n.URL(), nats.NoReconnect(), nats.Name(n.Name))
	if err != nil {
		return nil, fmt.Errorf("connect to %s: %w", n.Name, err)
	}
	w.conns = append(w.conns, nc)
	return nc, nil
}

func (w *scaleWork) makeStream() error {
	nc, err := w.connect(w.cluster.Nodes[0])
	if err != nil {
		return err
	}
	if w.js, err = jetstream.New(nc); err != nil {
		return err
	}
	_, err = w.js.CreateStream(w.ctx, jetstream.StreamConfig{
		Name: scaleStream, Subjects: []string{scalePrefix + ">"}, Replicas: 3, Storage: jetstream.FileStorage,
	})
	return err
}

// costs measures the servers without the consumers, makes them, and measures again.
func (w *scaleWork) costs() error {
	before, err := w.atRest()
	if err != nil {
		return err
	}
	spent, begun := w.spending(), time.Now()
	if err := w.create(); err != nil {
		return err
	}
	w.put("created per second", commas(int64(float64(w.n)/time.Since(begun).Seconds())))
	w.put("CPU of the three servers per creation, µs", spent())
	after, err := w.atRest()
	if err != nil {
		return err
	}
	w.put("idle CPU of the three servers without them, % of a core", fmt.Sprintf("%.1f", before.cpu))
	w.put("idle CPU with them, % of a core", fmt.Sprintf("%.1f", after.cpu))
	perNode := float64(after.memory-before.memory) / float64(w.n) / float64(len(w.cluster.Nodes))
	w.put("memory per consumer and node, KiB", fmt.Sprintf("%.1f", perNode/1024))
	return nil
}

func (w *scaleWork) config(i int) []byte {
	filters := fmt.Sprintf(`"%sown.%d","%sall"`, scalePrefix, i, scalePrefix)
	for _, size := range scaleSets {
		if i < size {
			filters += fmt.Sprintf(`,"%s%d"`, scalePrefix, size)
		}
	}
	name := "c" + strconv.Itoa(i)
	return fmt.Appendf(nil, `{"stream_name":"%s","config":{"durable_name":"%s","name":"%s","deliver_policy":"new",`+
		`"ack_policy":"explicit","ack_wait":600000000000,"replay_policy":"instant","filter_subjects":[%s],"num_replicas":0},"action":"create"}`,
		scaleStream, name, name, filters)
}

// create makes the consumers, with many requests under way.
func (w *scaleWork) create() error {
	nc := w.conns[0]
	w.runners = make(map[string]int)
	room := make(chan struct{}, scaleCreates)
	failed := make(chan error, 1)
	done := make(chan struct{})
	made := 0
	sub, err := nc.Subscribe("_INBOX.made", func(m *nats.Msg) {
		leader, err := createdAt(m)
		if err != nil {
			select {
			case failed <- err:
			default:
			}
		}
		w.runners[leader]++
		<-room
		if made++; made == w.n {
			close(done)
		}
	})
	if err != nil {
		return err
	}
	defer sub.Unsubscribe() //nolint:errcheck // its work is done
	for i := range w.n {
		select {
		case room <- struct{}{}:
		case err := <-failed:
			return err
		case <-w.ctx.Done():
			return fmt.Errorf("create consumer %d: %w", i, w.ctx.Err())
		}
		if err := nc.PublishRequest("$JS.API.CONSUMER.CREATE."+scaleStream+".c"+strconv.Itoa(i), "_INBOX.made", w.config(i)); err != nil {
			return err
		}
	}
	select {
	case <-done:
		return nil
	case err := <-failed:
		return err
	case <-w.ctx.Done():
		return fmt.Errorf("%d consumers were created: %w", made, w.ctx.Err())
	}
}

// createdAt reads from the answer to a create where the consumer runs.
func createdAt(m *nats.Msg) (string, error) {
	if bytes.Contains(m.Data, []byte(`"error":`)) {
		return "", fmt.Errorf("create a consumer: %s", m.Data)
	}
	_, rest, _ := bytes.Cut(m.Data, []byte(`"leader":"`))
	leader, _, _ := bytes.Cut(rest, []byte(`"`))
	return string(leader), nil
}

// victim is the node that most consumers run on.
func (w *scaleWork) victim() *procs.Node {
	return slices.MaxFunc(w.cluster.Nodes, func(a, b *procs.Node) int { return w.runners[a.Name] - w.runners[b.Name] })
}

// attach pulls from all consumers with clients at the nodes that are to stay, and
// has them all deliver a message, twice: the first time everybody learns where
// consumers run.
func (w *scaleWork) attach() error {
	w.close()
	w.conns = nil
	w.got, w.pulled = make([]int, w.n), make([]atomic.Int64, w.n)
	for _, n := range w.cluster.Nodes {
		if n == w.victim() {
			continue
		}
		nc, err := w.connect(n)
		if err != nil {
			return err
		}
		sub, err := nc.Subscribe(scaleInbox(nc)+"*", func(m *nats.Msg) { w.arrived(nc, m) })
		if err != nil {
			return err
		}
		if err := errors.Join(sub.SetPendingLimits(-1, -1), nc.Flush()); err != nil {
			return err
		}
	}
	var err error
	if w.js, err = jetstream.New(w.conns[0]); err != nil {
		return err
	}
	for i := range w.n {
		if err := w.pull(w.connOf(i), i); err != nil {
			return err
		}
	}
	var took time.Duration
	spent := w.spending()
	for range 2 {
		spent = w.spending()
		if took, err = w.deliver(scalePrefix+"all", w.n, nil); err != nil {
			return fmt.Errorf("message to all: %w", err)
		}
	}
	w.put("message to all, ms", millis(took))
	w.put("CPU of the three servers per consumer that a message goes to, µs", spent())
	return nil
}

func (w *scaleWork) connOf(i int) *nats.Conn { return w.conns[i%len(w.conns)] }

func (w *scaleWork) pull(nc *nats.Conn, i int) error {
	w.pulled[i].Store(time.Now().UnixNano())
	number := strconv.Itoa(i)
	return nc.PublishRequest("$JS.API.CONSUMER.MSG.NEXT."+scaleStream+".c"+number, scaleInbox(nc)+number, []byte(scalePull))
}

// scaleInbox is the prefix of a connection's inboxes; the consumer's number follows.
func scaleInbox(nc *nats.Conn) string { return "_INBOX.scale." + nc.Opts.Name + "." }

// arrived takes a message, or the end of a pull, which is made anew at once.
func (w *scaleWork) arrived(nc *nats.Conn, m *nats.Msg) {
	if number, ended := strings.CutPrefix(m.Subject, scaleInbox(nc)); ended {
		if i, err := strconv.Atoi(number); err == nil {
			_ = w.pull(nc, i) // a broken connection ends the round
		}
		return
	}
	rest, _ := strings.CutPrefix(m.Reply, "$JS.ACK."+scaleStream+".c")
	number, _, _ := strings.Cut(rest, ".")
	i, err := strconv.Atoi(number)
	if err != nil {
		return
	}
	_ = nc.Publish(m.Reply, nil)
	round, _ := strconv.Atoi(string(m.Data))
	w.mu.Lock()
	defer w.mu.Unlock()
	if round == w.round && w.got[i] != round {
		w.got[i] = round
		if w.missing--; w.missing == 0 {
			close(w.all)
		}
	}
}

// deliver publishes a message for some of the consumers and waits until all have
// delivered it. Before it is published, it does what is to be done first; the time
// counts from there.
func (w *scaleWork) deliver(subj string, to int, first func()) (time.Duration, error) {
	w.mu.Lock()
	w.round++
	w.missing, w.all = to, make(chan struct{})
	body := strconv.Itoa(w.round)
	w.mu.Unlock()
	begun := time.Now()
	if first != nil {
		first()
	}
	if err := w.publish(subj, body); err != nil {
		return 0, err
	}
	again := time.NewTicker(pullAgain)
	defer again.Stop()
	for {
		select {
		case <-w.all:
			return time.Since(begun), nil
		case <-w.ctx.Done():
			return 0, fmt.Errorf("%d of %d consumers have not delivered: %w", w.missing, to, w.ctx.Err())
		case <-again.C:
			w.pullMissing(to)
		}
	}
}

// pullAgain is when a client that hears nothing pulls again, as stock clients do
// after two heartbeats.
const pullAgain = 10 * time.Second

// pullMissing pulls again from the consumers that are silent.
func (w *scaleWork) pullMissing(to int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for i := range to {
		if w.got[i] != w.round && time.Since(time.Unix(0, w.pulled[i].Load())) > pullAgain {
			_ = w.pull(w.connOf(i), i) // a broken connection ends the round
		}
	}
}

// publish tries until the message is acknowledged, which may take an election.
func (w *scaleWork) publish(subj, body string) error {
	for {
		ctx, cancel := context.WithTimeout(w.ctx, 300*time.Millisecond)
		_, err := w.js.Publish(ctx, subj, []byte(body), jetstream.WithRetryAttempts(0), jetstream.WithMsgID(body))
		cancel()
		if err == nil || w.ctx.Err() != nil {
			return err
		}
	}
}

// latencies measures messages to some of the consumers.
func (w *scaleWork) latencies() error {
	if err := w.quiet(); err != nil {
		return err
	}
	for _, size := range scaleSets {
		to := min(size, w.n)
		if size > w.n && size != scaleSets[0] {
			w.put("message to "+commas(int64(size))+", ms", "")
			continue
		}
		var all []time.Duration
		for range scaleRounds {
			took, err := w.deliver(scalePrefix+strconv.Itoa(size), to, nil)
			if err != nil {
				return fmt.Errorf("message to %d: %w", size, err)
			}
			all = append(all, took)
		}
		slices.Sort(all)
		figure := "message to " + commas(int64(size)) + ", ms"
		if size == 1 {
			figure = "message to 1 consumer, ms"
		}
		w.put(figure, millis(all[len(all)/2]))
	}
	return nil
}

// failover kills the node that runs most consumers and measures how long it takes
// until all deliver again, those of the node that is gone and the others. Once it is
// back, it measures how long until it runs its share again, and stops it in good
// order: again all have to deliver.
func (w *scaleWork) failover() error {
	victim := w.victim()
	if err := w.quiet(); err != nil {
		return err
	}
	took, err := w.deliver(scalePrefix+"all", w.n, victim.Kill)
	if err != nil {
		return fmt.Errorf("after %s was killed: %w", victim.Name, err)
	}
	w.put("node killed: all deliver again after, ms", millis(took))
	if err := victim.Start(); err != nil {
		return err
	}
	if err := victim.Ready(w.ctx); err != nil {
		return err
	}
	begun := time.Now()
	if w.awaitShare(victim.Name) {
		w.put("node back: runs its share again after, s", fmt.Sprintf("%.0f", time.Since(begun).Seconds()))
	} else {
		w.put("node back: runs its share again after, s", "never")
	}
	if err := w.quiet(); err != nil {
		return err
	}
	stopped := make(chan error, 1)
	go func() { stopped <- victim.Stop(w.ctx) }()
	longest := time.Duration(0)
	for stopping := true; stopping; {
		select {
		case err = <-stopped:
			stopping = false
		default:
		}
		took, deliverErr := w.deliver(scalePrefix+"100", min(100, w.n), nil)
		if err = errors.Join(err, deliverErr); err != nil {
			return fmt.Errorf("while %s stopped: %w", victim.Name, err)
		}
		longest = max(longest, took)
	}
	w.put("node stopped: longest that a message to 100 took, ms", millis(longest))
	return nil
}

const (
	shareTime    = 60 * time.Second
	shareSamples = 60
)

// awaitShare waits until a node runs its part of the consumers, and not for long if
// it gets none back.
func (w *scaleWork) awaitShare(name string) bool {
	for until := time.Now().Add(shareTime); time.Now().Before(until) && w.ctx.Err() == nil; {
		share := 0
		for k := range shareSamples {
			cons, err := w.js.Consumer(w.ctx, scaleStream, "c"+strconv.Itoa(k*w.n/shareSamples))
			if err == nil && cons.CachedInfo().Cluster != nil && cons.CachedInfo().Cluster.Leader == name {
				share++
			}
		}
		if share >= shareSamples/4 {
			return true
		}
		select {
		case <-time.After(time.Second):
		case <-w.ctx.Done():
		}
	}
	return false
}

func millis(d time.Duration) string {
	return strconv.FormatFloat(float64(d.Microseconds())/1000, 'f', max(0, 1-int(d/(10*time.Millisecond))), 64)
}
