package jetstream

import (
	"context"
	"sync"
	"time"

	"weir/internal/api"
	"weir/internal/machine"
	"weir/internal/stream"
)

// copying brings the messages of other streams into this one, while this replica
// leads: a feed for each origin. How far an origin was copied is replicated, so
// that a new leader goes on where the last one was.
type copying struct {
	s *Stream

	mu    sync.Mutex
	feeds map[string]*feed // by origin key
}

// originsOf are the origins that a configuration names.
func originsOf(cfg *api.StreamConfig) []*api.StreamSource {
	if cfg.Mirror != nil {
		return []*api.StreamSource{cfg.Mirror}
	}
	return cfg.Sources
}

// follow makes the feeds those that the stream's configuration asks for.
func (c *copying) follow() {
	want := make(map[string]*api.StreamSource)
	var mirror bool
	c.s.View(func(m *machine.Machine) {
		cfg := m.Stream().Config()
		mirror = cfg.Mirror != nil
		for _, src := range originsOf(cfg) {
			want[stream.OriginKey(src)] = src
		}
	})
	c.mu.Lock()
	defer c.mu.Unlock()
	for key, f := range c.feeds {
		if want[key] == nil || f.mirror != mirror {
			f.removed.Store(true)
			f.cancel()
			delete(c.feeds, key)
		}
	}
	for key, src := range want {
		if c.feeds[key] != nil || !c.s.Leads() || c.s.node.ctx.Err() != nil {
			continue
		}
		if c.feeds == nil {
			c.feeds = make(map[string]*feed)
		}
		f := newFeed(c.s, key, src, mirror)
		c.feeds[key] = f
		c.s.node.spawn(f.run)
	}
}

// stop ends all feeds, without waiting for them. deleted: the stream is gone, and
// nobody goes on.
func (c *copying) stop(deleted bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, f := range c.feeds {
		f.removed.Store(deleted)
		f.cancel()
	}
	clear(c.feeds)
}

// infos says how far the origins of cfg were copied, in the order in which it names them.
func (c *copying) infos(cfg *api.StreamConfig) (mirror *api.StreamSourceInfo, sources []api.StreamSourceInfo) {
	for _, src := range originsOf(cfg) {
		key := stream.OriginKey(src)
		info := api.StreamSourceInfo{
			Name: src.Name, External: src.External, Active: -1,
			FilterSubject: src.FilterSubject, SubjectTransforms: src.SubjectTransforms,
		}
		c.mu.Lock()
		f := c.feeds[key]
		c.mu.Unlock()
		if f != nil {
			f.fill(&info)
		}
		if cfg.Mirror != nil {
			return &info, nil
		}
		c.s.View(func(m *machine.Machine) { info.Sequence = m.Stream().CopiedUpTo(key) })
		sources = append(sources, info)
	}
	return nil, sources
}

// current tells that the stream is a mirror that was hardly behind its origin once
// since this replica leads.
func (c *copying) current() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, f := range c.feeds {
		f.mu.Lock()
		current := f.mirror && f.current
		f.mu.Unlock()
		if current {
			return true
		}
	}
	return false
}

func (f *feed) fill(info *api.StreamSourceInfo) {
	f.mu.Lock()
	defer f.mu.Unlock()
	info.Lag, info.Error = f.lag, f.failure
	if !f.heard.IsZero() {
		info.Active = f.s.node.cfg.Clock.Now().Sub(f.heard)
	}
}

// Pauses of a feed before it begins anew.
const (
	firstFeedPause = 100 * time.Millisecond
	lastFeedPause  = time.Second
)

// run follows the origin until the feed is cancelled.
func (f *feed) run() {
	defer f.leave()
	wait := firstFeedPause
	for f.ctx.Err() == nil {
		began := f.s.node.cfg.Clock.Now()
		if err := f.follow(); err != nil && f.ctx.Err() == nil {
			f.s.node.cfg.Logger.Debugf("Stream %s > %s copies from %s: %v", f.s.account, f.s.name, f.src.Name, err)
		}
		if f.s.node.cfg.Clock.Now().Sub(began) > lastFeedPause {
			wait = firstFeedPause
		}
		if !f.pause(wait) {
			return
		}
		wait = min(2*wait, lastFeedPause)
	}
}

// leave drops the consumer that nobody reads through any more, and the one that the origin would keep for ever.
func (f *feed) leave() {
	f.dropConsumer(f.unkept)
	if f.removed.Load() {
		f.dropConsumer(f.kept)
	}
}

// pause waits; false says that the feed was cancelled.
func (f *feed) pause(d time.Duration) bool {
	ctx, cancel := context.WithCancel(f.ctx)
	defer cancel()
	t := f.s.node.cfg.Clock.AfterFunc(d, cancel)
	defer t.Stop()
	<-ctx.Done()
	return f.ctx.Err() == nil
}
