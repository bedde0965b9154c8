package jetstream

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"weir/internal/api"
	"weir/internal/meta"
	"weir/internal/runner"
)

// slack is how long consumers may be without a runner on a machine that has other
// things to do: less than the ack wait of a minute. By itself it takes milliseconds.
const slack = 45 * time.Second

// pullOne pulls a message from a consumer wherever it runs, and tells how long
// that took.
func (c *testCluster) pullOne(stream, name string) time.Duration {
	c.t.Helper()
	begin := time.Now()
	for time.Since(begin) < patience {
		h := c.runner(stream, name)
		r := h.stream(stream).Runner(name)
		if r == nil {
			continue
		}
		inbox := h.inbox("inbox")
		r.Pull(runner.PullRequest{Reply: "inbox", Body: []byte(`{"batch":1,"expires":2000000000}`)})
		select {
		case m := <-inbox:
			if len(m.Payload) > 0 {
				return time.Since(begin)
			}
		case <-time.After(time.Second):
		}
	}
	c.t.Fatalf("consumer %s delivers nothing", name)
	return 0
}

// spread makes a stream of several consumers and as many messages.
func (c *testCluster) spread() (names []string) {
	c.t.Helper()
	c.createStream(streamConfig("S", api.FileStorage, len(c.all)), c.all...)
	for i := range 6 {
		names = append(names, fmt.Sprintf("C%d", i))
		c.createConsumer("S", names[i])
	}
	for range 5 {
		c.publish("S")
	}
	return names
}

func (h *harness) runs(stream string, names []string) (n int) {
	for _, name := range names {
		if h.stream(stream).Runner(name) != nil {
			n++
		}
	}
	return n
}

// A node that goes hands over its consumers and leaderships before it is gone.
func TestStopHandsOver(t *testing.T) {
	c := startCluster(t, 3)
	names := c.spread()
	for _, name := range names {
		c.pullOne("S", name)
	}
	for _, leads := range []bool{true, false} {
		var h *harness
		for h = range c.eachLive() {
			if (h == c.leader("S")) == leads && h.runs("S", names) > 0 {
				break
			}
		}
		begin := time.Now()
		c.stop(h)
		t.Logf("stopped in %v", time.Since(begin))
		begin = time.Now()
		for _, name := range names {
			c.pullOne("S", name)
		}
		if d := time.Since(begin); d > slack {
			t.Errorf("it took %v until all consumers delivered", d)
		}
		c.start(h)
		c.untilHealthy()
	}
}

// Nothing is placed on a node that has said that it is about to go.
func TestNodeThatGoesIsNotChosen(t *testing.T) {
	c := startCluster(t, 3)
	goes := c.all[2].node
	goes.leave()
	for _, h := range c.all[:2] {
		c.until("it is no candidate", func() bool {
			return slices.ContainsFunc(h.node.Candidates(), func(x meta.Candidate) bool {
				return x.Node == goes.cfg.Identity.Node && !x.Online
			})
		})
	}
}

// The consumers of a node that dies deliver again elsewhere.
func TestDeathOfRunnersNode(t *testing.T) {
	c := startCluster(t, 3)
	names := c.spread()
	for _, leads := range []bool{false, true} {
		var h *harness
		for h = range c.eachLive() {
			if (h == c.leader("S")) == leads {
				break
			}
		}
		c.kill(h)
		begin := time.Now()
		for _, name := range names {
			c.pullOne("S", name)
		}
		t.Logf("leader %v: all deliver after %v", leads, time.Since(begin))
		if d := time.Since(begin); d > slack {
			t.Errorf("it took %v until all consumers delivered", d)
		}
		c.start(h)
		c.untilHealthy()
	}
}

// Consumers leave a replica that failed although its node is up.
func TestFailedReplicaRunsNothing(t *testing.T) {
	c := startCluster(t, 3)
	names := c.spread()
	var h *harness
	for h = range c.eachLive() {
		if h != c.leader("S") {
			break
		}
	}
	h.stream("S").Stopped(errors.New("disk is full"))
	for _, name := range names {
		c.pullOne("S", name)
	}
	if h.node.Healthy() == nil {
		t.Error("a node with a failed replica is healthy")
	}
}

func TestLeaderStepDown(t *testing.T) {
	c := startCluster(t, 3)
	names := c.spread()
	for range 3 {
		before := c.leader("S")
		s := before.stream("S")
		voters, _ := s.Members()
		for _, v := range voters {
			if v.ID != s.Replica() {
				if err := s.Group().TransferLeader(v.ID); err != nil {
					t.Fatal(err)
				}
				break
			}
		}
		begin := time.Now()
		c.until("another leader", func() bool { return !s.Leads() })
		c.publish("S")
		published := time.Since(begin)
		for _, name := range names {
			c.pullOne("S", name)
		}
		t.Logf("published after %v, all deliver after %v", published, time.Since(begin))
		if d := time.Since(begin); d > slack {
			t.Errorf("it took %v until all consumers delivered", d)
		}
	}
}
