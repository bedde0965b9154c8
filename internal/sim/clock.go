package sim

import (
	"sync"
	"sync/atomic"
	"time"

	"weir/internal/base"
)

// clock is a node's: it is wrong, now and then jumps, and stands still in the eyes of
// the node while that is paused.
type clock struct {
	skew atomic.Int64 // ns

	mu      sync.Mutex
	resumed chan struct{} // closed by resume; nil while not paused
	held    []func()      // that fell due meanwhile
}

var _ base.Clock = (*clock)(nil)

func (c *clock) Now() time.Time { return now().Add(c.ahead()) }

// ahead is by how much the clock is wrong.
func (c *clock) ahead() time.Duration { return time.Duration(c.skew.Load()) }

// pause holds timers, and what comes from the network, until resume.
func (c *clock) pause() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.resumed == nil {
		c.resumed = make(chan struct{})
	}
}

func (c *clock) resume() {
	c.mu.Lock()
	held := c.held
	c.held = nil
	if c.resumed != nil {
		close(c.resumed)
		c.resumed = nil
	}
	c.mu.Unlock()
	for _, f := range held {
		go f()
	}
}

func (c *clock) paused() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.resumed != nil
}

// await waits while the clock is paused.
func (c *clock) await() {
	c.mu.Lock()
	resumed := c.resumed
	c.mu.Unlock()
	if resumed != nil {
		<-resumed
	}
}

// run calls f, at once or when the clock is resumed.
func (c *clock) run(f func()) {
	c.mu.Lock()
	if c.resumed != nil {
		c.held = append(c.held, f)
		c.mu.Unlock()
		return
	}
	c.mu.Unlock()
	f()
}

// AfterFunc runs f after d, and not while the clock is paused.
func (c *clock) AfterFunc(d time.Duration, f func()) base.Timer {
	t := &timer{}
	t.Timer = base.SystemClock.AfterFunc(d, func() {
		life := t.life.Load()
		c.run(func() {
			if t.life.Load() == life {
				f()
			}
		})
	})
	return t
}

// timer forgets what was held back when it is stopped or set anew.
type timer struct {
	base.Timer
	life atomic.Int64
}

func (t *timer) Stop() bool {
	t.life.Add(1)
	return t.Timer.Stop()
}

func (t *timer) Reset(d time.Duration) bool {
	t.life.Add(1)
	return t.Timer.Reset(d)
}

// NewTicker ticks every d but while the clock is paused.
func (c *clock) NewTicker(d time.Duration) base.Ticker {
	t := &ticker{c: make(chan time.Time, 1)}
	t.arm(c, d)
	return t
}

type ticker struct {
	c       chan time.Time
	mu      sync.Mutex
	next    base.Timer
	stopped bool
}

func (t *ticker) arm(c *clock, d time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.stopped {
		return
	}
	t.next = c.AfterFunc(d, func() {
		select {
		case t.c <- c.Now():
		default:
		}
		t.arm(c, d)
	})
}

func (t *ticker) C() <-chan time.Time { return t.c }

func (t *ticker) Stop() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.stopped = true
	t.next.Stop()
}
