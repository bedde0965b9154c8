package server

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/crypto/bcrypt"

	"weir/internal/base"
	"weir/internal/conf"
)

// patience is how long a test waits for one thing that must happen, and testTime for all that it
// does: long enough for a slow machine that has other things to do. What does happen takes no longer for it.
const (
	patience = 90 * time.Second
	testTime = 8 * time.Minute
)

// until waits for a condition.
func until(t testing.TB, what string, holds func() bool) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	timeout := time.After(patience)
	for !holds() {
		select {
		case <-tick.C:
		case <-timeout:
			t.Fatalf("not in time: %s", what)
		}
	}
}

// testCluster is a cluster of servers in this process, on loopback.
type testCluster struct {
	t       testing.TB
	configs []string
	servers []*Server
}

// startCluster starts n servers that know each other's routes, and waits until
// they are ready.
func startCluster(t testing.TB, n int) *testCluster {
	t.Helper()
	return startClusterWith(t, n, "")
}

// startClusterWith is startCluster with more configuration for every server.
func startClusterWith(t testing.TB, n int, more string) *testCluster {
	t.Helper()
	routes := freeAddresses(t, n)
	c := &testCluster{t: t, servers: make([]*Server, n)}
	for i, r := range routes {
		c.configs = append(c.configs, fmt.Sprintf(`
			server_name: n%d, listen: "127.0.0.1:-1"
			jetstream { store_dir: %q }
			cluster { name: test, listen: %q, routes: [ "nats://%s" ] }
			%s`,
			i+1, t.TempDir(), r, strings.Join(routes, `", "nats://`), more))
	}
	for i := range n {
		c.start(i)
	}
	for i := range n {
		c.ready(i)
	}
	t.Cleanup(func() {
		for _, s := range c.servers {
			if s != nil {
				s.Shutdown()
			}
		}
	})
	return c
}

// freeAddresses finds n loopback addresses that nobody listens on, with ports below the
// range from which systems give others to clients and to listeners on port 0: they stay
// free until their servers take them.
func freeAddresses(t testing.TB, n int) (list []string) {
	t.Helper()
	for deadline := time.Now().Add(patience); len(list) < n; {
		if time.Now().After(deadline) {
			t.Fatal("no free ports")
		}
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", 10000+rand.IntN(20000)))
		if err != nil {
			continue
		}
		defer l.Close()
		list = append(list, l.Addr().String())
	}
	return list
}

func (c *testCluster) start(i int) {
	c.t.Helper()
	cfg, err := conf.Parse(c.configs[i], "test")
	if err != nil {
		c.t.Fatal(err)
	}
	if c.servers[i], err = New(cfg, base.NopLogger{}); err != nil {
		c.t.Fatal(err)
	}
	if err := c.servers[i].Start(); err != nil {
		c.t.Fatal(err)
	}
}

func (c *testCluster) stop(i int) {
	c.servers[i].Shutdown()
	c.servers[i] = nil
}

func (c *testCluster) ready(i int) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := c.servers[i].Ready(ctx); err != nil {
		c.t.Fatal(err)
	}
}

func (c *testCluster) connect(i int) (*nats.Conn, jetstream.JetStream) {
	c.t.Helper()
	nc, err := nats.Connect(c.servers[i].ClientURL(), nats.Timeout(patience), nats.MaxReconnects(-1), nats.ReconnectWait(50*time.Millisecond))
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(nc.Close)
	js, err := jetstream.New(nc, jetstream.WithDefaultTimeout(patience))
	if err != nil {
		c.t.Fatal(err)
	}
	return nc, js
}

// TestClusterPasswordAsHash: who listens needs to know only a hash of what the
// routes of the others name.
func TestClusterPasswordAsHash(t *testing.T) {
	hash, err := bcrypt.GenerateFromPassword([]byte("secret"), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	start := func(name, cluster string) *Server {
		return startWith(t, fmt.Sprintf(`server_name: %s, listen: "127.0.0.1:-1", cluster { name: test, listen: "127.0.0.1:-1", %s }`, name, cluster))
	}
	first := start("n1", fmt.Sprintf(`authorization { user: route, password: %q }`, hash))
	_, _, addr := first.Addrs()
	second := start("n2", fmt.Sprintf(`routes: [ "nats://route:secret@%s" ]`, addr))
	until(t, "a link between the two", func() bool { return len(first.mesh.Peers()) == 1 && len(second.mesh.Peers()) == 1 })
}

// TestClusterServesWhileEachNodeRestarts publishes and consumes through every
// node while one after the other goes and comes back.
func TestClusterServesWhileEachNodeRestarts(t *testing.T) {
	c := startCluster(t, 3)
	ctx, cancel := context.WithTimeout(context.Background(), testTime)
	defer cancel()
	_, js := c.connect(0)
	if _, err := js.CreateStream(ctx, jetstream.StreamConfig{Name: "S", Subjects: []string{"s.>"}, Replicas: 3}); err != nil {
		t.Fatal(err)
	}
	if _, err := js.CreateConsumer(ctx, "S", jetstream.ConsumerConfig{Durable: "C", AckPolicy: jetstream.AckExplicitPolicy}); err != nil {
		t.Fatal(err)
	}
	published, seen := 0, map[uint64]bool{}
	for round := range 3 {
		_, js := c.connect((round + 1) % 3)
		c.stop(round)
		for range 20 {
			publish(ctx, t, js, fmt.Sprintf("s.%d", published))
			published++
		}
		consumeInto(ctx, t, js, seen, published)
		c.start(round)
		c.ready(round)
	}
	info, err := js.Stream(ctx, "S")
	if err != nil {
		t.Fatal(err)
	}
	if got := info.CachedInfo().State.Msgs; got != uint64(published) {
		t.Fatalf("%d messages in the stream, published %d", got, published)
	}
}

// tryPublish publishes once. A leader that goes may take the ack with it.
func tryPublish(ctx context.Context, js jetstream.JetStream, subj string, opts ...jetstream.PublishOpt) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	_, err := js.Publish(ctx, subj, nil, opts...)
	return err
}

// publish publishes one message, again when the leader is just changing.
func publish(ctx context.Context, t *testing.T, js jetstream.JetStream, subj string) {
	t.Helper()
	for {
		err := tryPublish(ctx, js, subj, jetstream.WithMsgID(subj))
		if err == nil {
			return
		}
		if ctx.Err() != nil {
			t.Fatalf("publish %s: %v", subj, errors.Join(err, ctx.Err()))
		}
	}
}

// consumeInto fetches and double-acks until want messages have been seen.
func consumeInto(ctx context.Context, t *testing.T, js jetstream.JetStream, seen map[uint64]bool, want int) {
	t.Helper()
	for len(seen) < want {
		if ctx.Err() != nil {
			t.Fatalf("saw %d of %d messages", len(seen), want)
		}
		cons, err := js.Consumer(ctx, "S", "C")
		if err != nil {
			continue
		}
		batch, err := cons.Fetch(want-len(seen), jetstream.FetchMaxWait(500*time.Millisecond))
		if err != nil {
			continue
		}
		for m := range batch.Messages() {
			meta, err := m.Metadata()
			if err != nil {
				t.Fatal(err)
			}
			short, cancel := context.WithTimeout(ctx, 2*time.Second)
			err = m.DoubleAck(short)
			cancel()
			if err == nil {
				if seen[meta.Sequence.Stream] {
					t.Fatalf("message %d came again after its ack was confirmed", meta.Sequence.Stream)
				}
				seen[meta.Sequence.Stream] = true
			}
		}
	}
}

// BenchmarkClusterPublish measures asynchronous publishes to an R3 file stream,
// all three servers and the client in this process.
func BenchmarkClusterPublish(b *testing.B) {
	for _, size := range []int{128, 1024} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			c := startCluster(b, 3)
			_, js := c.connect(0)
			ctx := context.Background()
			if _, err := js.CreateStream(ctx, jetstream.StreamConfig{Name: "S", Subjects: []string{"s"}, Replicas: 3}); err != nil {
				b.Fatal(err)
			}
			nc, err := nats.Connect(c.servers[0].ClientURL())
			if err != nil {
				b.Fatal(err)
			}
			defer nc.Close()
			async, err := jetstream.New(nc, jetstream.WithPublishAsyncMaxPending(1000))
			if err != nil {
				b.Fatal(err)
			}
			payload := bytes.Repeat([]byte("x"), size)
			b.SetBytes(int64(size))
			for b.Loop() {
				if _, err := async.PublishAsync("s", payload); err != nil {
					b.Fatal(err)
				}
			}
			<-async.PublishAsyncComplete()
		})
	}
}

// BenchmarkClusterPublishSync measures 16 clients that wait for each ack.
func BenchmarkClusterPublishSync(b *testing.B) {
	c := startCluster(b, 3)
	_, js := c.connect(0)
	ctx := context.Background()
	if _, err := js.CreateStream(ctx, jetstream.StreamConfig{Name: "S", Subjects: []string{"s"}, Replicas: 3}); err != nil {
		b.Fatal(err)
	}
	const clients = 16
	work := make(chan struct{}, clients)
	var wg sync.WaitGroup
	for i := range clients {
		_, js := c.connect(i % 3)
		wg.Go(func() {
			for range work {
				if _, err := js.Publish(ctx, "s", []byte("hello")); err != nil {
					b.Error(err)
				}
			}
		})
	}
	for b.Loop() {
		work <- struct{}{}
	}
	close(work)
	wg.Wait()
}
