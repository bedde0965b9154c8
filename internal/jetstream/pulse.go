package jetstream

import (
	"sync/atomic"
	"time"
)

const (
	pulseEvery = 500 * time.Millisecond
	// stoodStillAfter is less than links need to notice that a node is gone.
	stoodStillAfter = 2 * time.Second
)

// pulse notices that this process stood still, because it was stopped or had to wait
// for the machine. It may have been taken for dead meanwhile, and its consumers run
// elsewhere; the links will say so, but a runner may be faster.
type pulse struct {
	began time.Time
	last  atomic.Int64 // when it last beat, ns after began
}

func (p *pulse) beat(now time.Time) { p.last.Store(int64(now.Sub(p.began))) }

// missed tells that the process stood still, and nobody was told yet.
func (p *pulse) missed(now time.Time) bool {
	return now.Sub(p.began)-time.Duration(p.last.Load()) > stoodStillAfter
}

// pulseLoop makes every replica catch up with its group after this process stood still.
func (n *Node) pulseLoop() {
	tick := n.cfg.Clock.NewTicker(pulseEvery)
	defer tick.Stop()
	for {
		select {
		case <-n.ctx.Done():
			return
		case <-tick.C():
		}
		now := n.cfg.Clock.Now()
		if n.pulse.missed(now) {
			for _, s := range n.allStreams() {
				s.contact.lose(s)
			}
		}
		n.pulse.beat(now)
	}
}
