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
