package conformance

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"weir/conformance/procs"
)

// caughtUpBySnapshot is what a node logs when it took a replica's state from
// another one instead of a log.
const caughtUpBySnapshot = "caught up by snapshot"

// catchupSize is large enough that the files of the log are let go while the
// follower is down.
const catchupSize = 1500

// TestFollowerCatchesUpBySnapshot stops a follower, lets the others go on until
// their log no longer has what it lacks, and compares all replicas afterwards.
func TestFollowerCatchesUpBySnapshot(t *testing.T) {
	if testing.Short() {
		t.Skip("needs a log of several hundred megabytes")
	}
	const messages = 200_000
	ctx := trialContext(t)
	c := startCluster(ctx, t, 3, "")
	nc, js := connect(t, c.URLs())
	stream, err := js.CreateStream(ctx, jetstream.StreamConfig{
		Name: "LAG", Subjects: []string{"lag.>"}, Replicas: 3, AllowDirect: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	consumer, err := stream.CreateConsumer(ctx, jetstream.ConsumerConfig{Durable: "reader", AckPolicy: jetstream.AckExplicitPolicy})
	if err != nil {
		t.Fatal(err)
	}
	publishMany(t, js, 0, 1000)
	leader := leaderOf(ctx, t, c, js, "LAG")
	follower := c.Nodes[0]
	if follower == leader {
		follower = c.Nodes[1]
	}
	if err := follower.Stop(ctx); err != nil {
		t.Fatal(err)
	}
	publishMany(t, js, 1000, messages)
	ackSome(t, consumer, 5000)
	before := time.Now()
	if err := stream.DeleteMsg(ctx, 4711); err != nil {
		t.Fatal(err)
	}
	for _, n := range c.Nodes {
		if n != follower {
			waitForCheckpoint(ctx, t, n, before)
		}
	}
	begun, logged := time.Now(), len(follower.Log())
	if err := follower.Start(); err != nil {
		t.Fatal(err)
	}
	leaderOf(ctx, t, c, js, "LAG")
	t.Logf("%s has caught up after %v", follower.Name, time.Since(begun))
	checkSnapshotTaken(t, follower.Name, follower.Log()[logged:])
	compareReplicas(ctx, t, c, nc, js, messages-1)
}

func checkSnapshotTaken(t *testing.T, name, log string) {
	t.Helper()
	for line := range strings.Lines(log) {
		if strings.Contains(line, caughtUpBySnapshot) {
			t.Log(strings.TrimSpace(line))
			return
		}
	}
	t.Errorf("%s does not say that it has %s", name, caughtUpBySnapshot)
}

// publishMany publishes messages from..to, in flight together, and waits for all
// acks.
func publishMany(t *testing.T, js jetstream.JetStream, from, to int) {
	t.Helper()
	const window = 200
	var flying []jetstream.PubAckFuture
	payload := make([]byte, catchupSize)
	for i := from; i < to; i++ {
		m := nats.NewMsg(fmt.Sprintf("lag.%d", i%1000))
		m.Data = append([]byte(fmt.Sprintf("message %d ", i)), payload...)
		f, err := js.PublishMsgAsync(m)
		if err != nil {
			t.Fatal(err)
		}
		flying = append(flying, f)
		if len(flying) < window && i < to-1 {
			continue
		}
		for _, f := range flying {
			select {
			case <-f.Ok():
			case err := <-f.Err():
				t.Fatalf("publish: %v", err)
			}
		}
		flying = flying[:0]
	}
}

func ackSome(t *testing.T, c jetstream.Consumer, n int) {
	t.Helper()
	batch, err := c.Fetch(n, jetstream.FetchMaxWait(30*time.Second))
	if err != nil {
		t.Fatal(err)
	}
	acked := 0
	for m := range batch.Messages() {
		if acked++; acked%3 == 0 {
			continue // stays pending
		}
		if err := m.Ack(); err != nil {
			t.Fatal(err)
		}
	}
	if err := batch.Error(); err != nil || acked == 0 {
		t.Fatalf("fetched %d: %v", acked, err)
	}
}

// waitForCheckpoint waits until a node has written its index tables since a moment
// before the last change, which is when it lets go of its log. Without a change
// there would be nothing to write.
func waitForCheckpoint(ctx context.Context, t *testing.T, n *procs.Node, since time.Time) {
	t.Helper()
	err := procs.Until(ctx, n.Name+" has made a checkpoint", func() error {
		tables, err := filepath.Glob(filepath.Join(n.StoreDir(), "weir", "streams", "index", "*.sst"))
		if err != nil {
			return err
		}
		for _, name := range tables {
			if info, err := os.Stat(name); err == nil && info.ModTime().After(since) {
				return nil
			}
		}
		return errors.New("no new table")
	})
	if err != nil {
		t.Fatal(err)
	}
}

// compareReplicas compares what all nodes monitor, then makes each one the leader
// and reads every message from it.
func compareReplicas(ctx context.Context, t *testing.T, c *procs.Cluster, nc *nats.Conn, js jetstream.JetStream, messages int) {
	t.Helper()
	eventually(ctx, t, "monitoring shows equal replicas", func(ctx context.Context) error {
		var first string
		for _, n := range c.Nodes {
			r, err := replicaOn(ctx, n, "LAG")
			if err != nil {
				return err
			}
			if len(r.Consumers) != 1 || r.StateHash == "" {
				return fmt.Errorf("%s shows %d consumers and the state hash %q", n.Name, len(r.Consumers), r.StateHash)
			}
			for i := range r.Consumers { // when, as seen on that node
				r.Consumers[i].Delivered.Last, r.Consumers[i].AckFloor.Last = nil, nil
			}
			text := fmt.Sprintf("%+v", *r)
			if first == "" {
				first = text
			}
			if text != first {
				return fmt.Errorf("%s has %s, %s has %s", c.Nodes[0].Name, first, n.Name, text)
			}
		}
		return nil
	})
	var first []stored
	for _, n := range c.Nodes {
		moveLeader(ctx, t, c, nc, js, n)
		all := readStream(ctx, t, nc, "LAG")
		if len(all) != messages {
			t.Errorf("%s has %d messages, want %d", n.Name, len(all), messages)
		}
		if first == nil {
			first = all
			continue
		}
		for i := range min(len(all), len(first)) {
			if all[i] != first[i] {
				t.Fatalf("%s has %+v where %s has %+v", n.Name, all[i], c.Nodes[0].Name, first[i])
			}
		}
	}
}

func moveLeader(ctx context.Context, t *testing.T, c *procs.Cluster, nc *nats.Conn, js jetstream.JetStream, to *procs.Node) {
	t.Helper()
	body := fmt.Appendf(nil, `{"placement":{"preferred":%q}}`, to.Name)
	eventually(ctx, t, to.Name+" leads", func(ctx context.Context) error {
		leader := leaderOf(ctx, t, c, js, "LAG")
		if leader == to {
			return nil
		}
		m, err := nc.RequestWithContext(ctx, "$JS.API.STREAM.LEADER.STEPDOWN.LAG", body)
		if err != nil {
			return err
		}
		return fmt.Errorf("%s leads and answered %s", leader.Name, m.Data)
	})
}
