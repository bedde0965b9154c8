package jsapi

import (
	"sync"
	"time"

	"weir/internal/base"
	"weir/internal/jetstream"
)

// Requests that nobody is known to answer are tried again every holdPause, until
// a try fails holdLimit after they arrived at this node. Very many wait longer, holdShare times what
// trying them took, so that this is not all that the node does: that are the pulls from
// all the consumers whose node has just died, the more so while the machine is busy.
const (
	holdPause    = 20 * time.Millisecond
	maxHoldPause = 300 * time.Millisecond
	holdShare    = 3
	holdLimit    = 4 * time.Second
	maxHeld      = 128 << 10
)

// holder keeps requests that wait for a leader or runner to be known.
type holder struct {
	svc *Service

	mu      sync.Mutex
	list    []*jetstream.Request
	timer   base.Timer // set while list is not empty, but for when they are tried
	trying  bool
	stopped bool
}

// add keeps a request for another try. One more than there is room for is dropped: false.
func (h *holder) add(r *jetstream.Request) bool {
	h.mu.Lock()
	full := len(h.list) >= maxHeld
	if !full && !h.stopped {
		h.list = append(h.list, r)
		if h.timer == nil && !h.trying {
			h.timer = h.svc.cfg.Clock.AfterFunc(holdPause, h.retry)
		}
	}
	h.mu.Unlock()
	if full {
		h.svc.limits.dropped(h.svc)
	}
	return !full
}

// retry tries all held requests once more; who can not be helped comes back by add.
func (h *holder) retry() {
	h.mu.Lock()
	list := h.list
	h.list, h.timer, h.trying = nil, nil, true
	stopped := h.stopped
	h.mu.Unlock()
	if stopped {
		return
	}
	now := h.svc.cfg.Clock.Now()
	defer h.tried(now)
	for _, r := range list {
		if !h.svc.refuseOffline(r, now) {
			h.svc.dispatch(r, true)
		}
	}
}

// tried has those tried again in a while that could not be helped since begun.
func (h *holder) tried(begun time.Time) {
	took := h.svc.cfg.Clock.Now().Sub(begun)
	h.mu.Lock()
	defer h.mu.Unlock()
	h.trying = false
	if len(h.list) > 0 && !h.stopped {
		h.timer = h.svc.cfg.Clock.AfterFunc(min(max(holdPause, holdShare*took), maxHoldPause), h.retry)
	}
}

func (h *holder) stop() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.stopped, h.list = true, nil
	if h.timer != nil {
		h.timer.Stop()
	}
}
