package sim

import (
	"time"

	"weir/internal/api"
)

// holding knows what a memory stream may have lost: what was acknowledged is with a
// majority of its replicas, and with none any more if that many nodes ended their lives
// before the others had brought those replicas back.
type holding struct {
	world  *world
	config api.StreamConfig
	gone   map[*node]bool // ended a life since all replicas were last whole
	// loss is when the replicas were whole again for the first time after what may have
	// been a loss: all that was acknowledged before may be gone.
	loss   time.Time
	losses int
	lost   bool // perhaps, since then
	// regained is called when they are.
	regained func()
}

func newHolding(w *world, cfg api.StreamConfig, regained func()) *holding {
	h := &holding{world: w, config: cfg, gone: map[*node]bool{}, regained: regained}
	w.holdings = append(w.holdings, h)
	return h
}

func (h *holding) memory() bool { return h.config.Storage == api.MemoryStorage }

// look notices that all is whole.
func (h *holding) look() {
	if len(h.gone) == 0 || h.world.apart(h.config) != "" {
		return
	}
	clear(h.gone)
	if h.lost {
		h.lost, h.loss, h.losses = false, now(), h.losses+1
		h.regained()
	}
}

// ended notices that a node ended a life.
func (h *holding) ended(n *node) {
	if h.memory() {
		h.gone[n] = true
		h.lost = h.lost || len(h.gone) > h.config.Replicas/2
	}
}

// may tells whether what was acknowledged at some time may be gone.
func (h *holding) may(acked time.Time) bool { return h.lost || !acked.After(h.loss) }

// ended tells the holdings that a life of a node ended.
func (w *world) ended(n *node) {
	for _, h := range w.holdings {
		h.ended(n)
	}
}
