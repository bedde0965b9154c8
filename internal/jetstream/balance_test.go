package jetstream

import (
	"fmt"
	"testing"
	"time"

	"weir/internal/api"
)

// After a node has come back it leads streams and runs consumers again, though
// nobody asked for it; those that deliver go on.
func TestWorkComesBack(t *testing.T) {
	c := newTestCluster(t, 3)
	c.balanceAfter = 300 * time.Millisecond
	for i := range 3 {
		c.add(fmt.Sprint("n", i))
	}
	c.untilHealthy()
	const streams, consumers = 6, 24
	for i := range streams {
		c.createStream(streamConfig(fmt.Sprint("S", i), api.FileStorage, 3), c.all...)
	}
	var names []string
	for i := range consumers {
		names = append(names, fmt.Sprint("C", i))
		c.createConsumer("S0", names[i])
	}
	for i := 1; i < streams; i++ {
		c.createConsumer(fmt.Sprint("S", i), "C")
	}
	back := c.all[1]
	c.stop(back)
	c.start(back)
	c.untilHealthy()
	c.until("its share of the streams", func() bool {
		n := 0
		for i := range streams {
			if s := back.stream(fmt.Sprint("S", i)); s != nil && s.Leads() {
				n++
			}
		}
		return n >= 1
	})
	c.until("its share of the consumers", func() bool { return back.runs("S0", names) >= consumers/3-2 })
	c.until("a consumer that is alone on its stream", func() bool {
		n := 0
		for i := 1; i < streams; i++ {
			n += back.runs(fmt.Sprint("S", i), []string{"C"})
		}
		return n >= 1
	})
	c.publish("S0")
	for _, name := range names {
		c.pullOne("S0", name)
	}
}

// A leader that is replaced before it has spread its consumers leaves that to the next
// one.
func TestBalanceGoesOnUnderNextLeader(t *testing.T) {
	c := newTestCluster(t, 3)
	for i, after := range []time.Duration{time.Hour, 200 * time.Millisecond, 200 * time.Millisecond} {
		c.balanceAfter = after
		c.add(fmt.Sprint("n", i))
	}
	c.untilHealthy()
	const consumers = 24
	c.createStream(streamConfig("S", api.FileStorage, 3), c.all...)
	var names []string
	for i := range consumers {
		names = append(names, fmt.Sprint("C", i))
		c.createConsumer("S", names[i])
	}
	slow, heir, back := c.all[0], c.all[1], c.all[2]
	lead := func(h *harness) {
		t.Helper()
		c.until(h.name+" leads", func() bool {
			now := c.leader("S")
			if now == h {
				return true
			}
			if err := now.stream("S").Group().TransferLeader(h.stream("S").replica); err != nil {
				t.Log(err)
			}
			return false
		})
	}
	lead(slow)
	c.stop(back)
	c.start(back)
	c.untilHealthy()
	c.until("the others have nothing to balance", func() bool { return !heir.node.balancer.isBusy() && !back.node.balancer.isBusy() })
	if n := back.runs("S", names); n > 0 {
		t.Fatalf("%d consumers came back although the leader waits", n)
	}
	lead(heir)
	c.until("its share of the consumers", func() bool { return back.runs("S", names) >= consumers/3-2 })
	if s := c.leader("S"); s != heir {
		t.Errorf("leadership moved, too")
	}
}

func (b *balancer) isBusy() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.busy
}

func TestIsWorth(t *testing.T) {
	for _, x := range []struct {
		most, least int
		want        bool
	}{{0, 0, false}, {1, 0, false}, {2, 0, true}, {2, 1, false}, {9, 7, true}, {80, 70, false}, {80, 69, true}, {50_000, 0, true}} {
		if got := isWorth(x.most, x.least); got != x.want {
			t.Errorf("%d and %d: %v", x.most, x.least, got)
		}
	}
}
