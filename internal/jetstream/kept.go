package jetstream

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"weir/internal/api"
	"weir/internal/base"
	"weir/internal/consumer"
	"weir/internal/machine"
	"weir/internal/meta"
)

// keptConsumers holds what this node keeps on disk of its memory streams: the
// configurations of their consumers, one file for each group. A stream that lost
// all its replicas comes back empty, and its consumers come back with it; see
// revive.go.
//
// Files are written behind the log, not before an answer goes out: what they are
// for is a stream that has lost its messages.
type keptConsumers struct {
	fs  vfs.FS
	dir string
	log base.Logger

	kick chan struct{}

	mu     sync.Mutex
	groups map[base.GroupID]map[string]keptConsumer // by name
	dirty  map[base.GroupID]struct{}
}

// keptConsumer is a consumer without what it has delivered.
type keptConsumer struct {
	Config  api.ConsumerConfig `json:"config"`
	Created int64              `json:"created"` // unix ns
}

// keptVersion is the version of the files.
const keptVersion = 1

type keptFile struct {
	Version   int            `json:"version"`
	Consumers []keptConsumer `json:"consumers"`
}

const (
	keptDir    = "memory"
	keptSuffix = ".json"
)

// openKept reads what an earlier life of the process kept below dir. A file that
// can not be read is left out, and stays until its group has something to keep.
func openKept(fs vfs.FS, dir string, log base.Logger) (*keptConsumers, error) {
	k := &keptConsumers{
		fs: fs, dir: fs.PathJoin(dir, keptDir), log: log, kick: make(chan struct{}, 1),
		groups: make(map[base.GroupID]map[string]keptConsumer), dirty: make(map[base.GroupID]struct{}),
	}
	if err := makeDurably(fs, k.dir); err != nil {
		return nil, fmt.Errorf("make directory for consumers of memory streams: %w", err)
	}
	names, err := fs.List(k.dir)
	if err != nil {
		return nil, fmt.Errorf("list consumers of memory streams: %w", err)
	}
	for _, name := range names {
		id, ok := strings.CutSuffix(name, keptSuffix)
		group, err := strconv.ParseUint(id, 10, 64)
		if !ok || err != nil {
			continue
		}
		if err := k.read(base.GroupID(group)); err != nil {
			log.Errorf("JetStream: consumers of a memory stream are lost: %v", err)
		}
	}
	return k, nil
}

func (k *keptConsumers) path(id base.GroupID) string {
	return k.fs.PathJoin(k.dir, strconv.FormatUint(uint64(id), 10)+keptSuffix)
}

func (k *keptConsumers) read(id base.GroupID) error {
	in, err := k.fs.Open(k.path(id))
	if err != nil {
		return err
	}
	defer in.Close()
	raw, err := io.ReadAll(in)
	if err != nil {
		return err
	}
	var f keptFile
	if err := json.Unmarshal(raw, &f); err != nil {
		return base.Corruptf("%s: %w", k.path(id), err)
	}
	if f.Version > keptVersion {
		return fmt.Errorf("%s has version %d, this program knows up to %d", k.path(id), f.Version, keptVersion)
	}
	list := make(map[string]keptConsumer, len(f.Consumers))
	for _, c := range f.Consumers {
		list[c.Config.Name] = c
	}
	k.groups[id] = list
	return nil
}

// of lists a group's consumers in the order in which they were made.
func (k *keptConsumers) of(id base.GroupID) []keptConsumer {
	k.mu.Lock()
	defer k.mu.Unlock()
	return slices.SortedFunc(maps.Values(k.groups[id]), func(a, b keptConsumer) int {
		return cmp.Or(cmp.Compare(a.Created, b.Created), cmp.Compare(a.Config.Name, b.Config.Name))
	})
}

func (k *keptConsumers) any(id base.GroupID) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return len(k.groups[id]) > 0
}

// put keeps a consumer that was made or changed.
func (k *keptConsumers) put(id base.GroupID, c *consumer.Consumer) {
	if !worthKeeping(c.Config) {
		return
	}
	k.change(id, func(list map[string]keptConsumer) {
		list[c.Name] = keptConsumer{*c.Config, c.Created.UnixNano()}
	})
}

// worthKeeping tells whether a consumer's client would miss it: those of mirrors
// and sources are made anew.
func worthKeeping(cfg *api.ConsumerConfig) bool { return !cfg.Direct }

func (k *keptConsumers) drop(id base.GroupID, name string) {
	k.change(id, func(list map[string]keptConsumer) { delete(list, name) })
}

// replace keeps exactly the consumers that m has.
func (k *keptConsumers) replace(id base.GroupID, m *machine.Machine) {
	k.change(id, func(list map[string]keptConsumer) {
		clear(list)
		for c := range m.Consumers() {
			if worthKeeping(c.Config) {
				list[c.Name] = keptConsumer{*c.Config, c.Created.UnixNano()}
			}
		}
	})
}

// forget drops all groups but some.
func (k *keptConsumers) forget(but func(base.GroupID) bool) {
	k.mu.Lock()
	gone := slices.DeleteFunc(slices.Collect(maps.Keys(k.groups)), but)
	k.mu.Unlock()
	for _, id := range gone {
		k.change(id, func(list map[string]keptConsumer) { clear(list) })
	}
}

func (k *keptConsumers) change(id base.GroupID, f func(map[string]keptConsumer)) {
	k.mu.Lock()
	defer k.mu.Unlock()
	list := k.groups[id]
	if list == nil {
		list = make(map[string]keptConsumer)
		k.groups[id] = list
	}
	before := len(list)
	f(list)
	if before == 0 && len(list) == 0 {
		delete(k.groups, id)
		return
	}
	k.dirty[id] = struct{}{}
	select {
	case k.kick <- struct{}{}:
	default:
	}
}

// write brings the files up to date.
func (k *keptConsumers) write() error {
	k.mu.Lock()
	ids := slices.Collect(maps.Keys(k.dirty))
	clear(k.dirty)
	k.mu.Unlock()
	var errs []error
	for _, id := range ids {
		if err := k.writeOne(id); err != nil {
			errs = append(errs, err)
			k.mu.Lock()
			k.dirty[id] = struct{}{} // another try with the next change
			k.mu.Unlock()
		}
	}
	return errors.Join(errs...)
}

func (k *keptConsumers) writeOne(id base.GroupID) error {
	list := k.of(id)
	if len(list) == 0 {
		k.mu.Lock()
		if len(k.groups[id]) == 0 {
			delete(k.groups, id)
		}
		k.mu.Unlock()
		return removeDurably(k.fs, k.dir, k.fs.PathBase(k.path(id)))
	}
	raw, err := json.Marshal(keptFile{keptVersion, list})
	if err != nil {
		return err
	}
	return writeDurably(k.fs, k.dir, k.path(id), raw)
}

// keptShare bounds the share of time that goes into the files: a pause is so many
// times as long as the writing before it.
const keptShare = 9

// keepLoop writes the files as consumers of memory streams change.
func (n *Node) keepLoop() {
	for {
		select {
		case <-n.ctx.Done():
			return
		case <-n.kept.kick:
		}
		began := n.cfg.Clock.Now()
		n.writeKept()
		if !n.pause(keptShare * max(n.cfg.Clock.Now().Sub(began), time.Millisecond)) {
			return
		}
	}
}

func (n *Node) writeKept() {
	if err := n.kept.write(); err != nil {
		n.cfg.Logger.Errorf("JetStream can not write the consumers of memory streams: %v", err)
	}
}

// forgetKept drops what is kept of streams that this node has no replica of any
// more. Before the meta log was replayed nobody knows.
func (n *Node) forgetKept(g *metaGroup) {
	if g == nil || g.Applied() < g.replayed {
		return
	}
	n.kept.forget(func(id base.GroupID) (here bool) {
		g.View(func(s *meta.State) {
			if a := s.ByGroup(id); a != nil {
				_, _, here = a.ReplicaOn(n.cfg.Identity.Node)
			}
		})
		return here
	})
}
