package rafthost

import (
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"weir/internal/base"
	"weir/internal/raftlog"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// direct is a transport without delay: a queue and a goroutine per link.
type direct struct {
	from  base.NodeID
	links *sync.Map // [2]NodeID → chan []byte
}

func (d direct) Send(to base.NodeID, frame []byte) bool {
	l, ok := d.links.Load([2]base.NodeID{d.from, to})
	if !ok {
		return false
	}
	select {
	case l.(chan []byte) <- frame:
		return true
	default:
		return false
	}
}

// counter is a machine that only counts.
type counter struct {
	applied atomic.Uint64
	entries atomic.Int64
	ready   atomic.Bool
	done    func(n int)
	Machine
}

func (c *counter) Apply(entries []Entry) error {
	n := 0
	for _, e := range entries {
		if e.Data != nil {
			n++
		}
	}
	c.applied.Store(entries[len(entries)-1].Index)
	c.entries.Add(int64(n))
	if c.done != nil {
		c.done(n)
	}
	return nil
}
func (c *counter) Applied() uint64                               { return 0 }
func (c *counter) LeaderChange(i LeaderInfo)                     { c.ready.Store(i.Ready) }
func (c *counter) MembersChange(voters, learners []base.Replica) {}
func (c *counter) Stopped(err error)                             { panic(err) }

type benchCluster struct {
	hosts    []*Host
	logs     []*raftlog.Log
	machines []map[base.GroupID]*counter
	links    sync.Map
	wg       sync.WaitGroup
}

func newBench(b testing.TB, fs vfs.FS, groups int, segment int64) *benchCluster {
	c := &benchCluster{}
	dir := b.TempDir()
	for i := range 3 {
		l, err := raftlog.Open(raftlog.Options{FS: fs, Dir: fs.PathJoin(dir, fmt.Sprint(i)), SegmentSize: segment})
		if err != nil {
			b.Fatal(err)
		}
		h, err := New(Options{Node: base.NodeID(i + 1), FileLog: l, Transport: direct{base.NodeID(i + 1), &c.links}})
		if err != nil {
			b.Fatal(err)
		}
		c.hosts, c.logs = append(c.hosts, h), append(c.logs, l)
		c.machines = append(c.machines, map[base.GroupID]*counter{})
	}
	for i := range 3 {
		for j := range 3 {
			from, to := base.NodeID(i+1), c.hosts[j]
			if i == j {
				continue
			}
			ch := make(chan []byte, 4096)
			c.links.Store([2]base.NodeID{from, to.o.Node}, ch)
			c.wg.Go(func() {
				for f := range ch {
					to.HandleFrame(from, f)
				}
			})
		}
		c.hosts[i].Start()
	}
	for g := base.GroupID(1); g <= base.GroupID(groups); g++ {
		for i, h := range c.hosts {
			m := &counter{}
			c.machines[i][g] = m
			if _, err := h.Open(GroupConfig{ID: g, Replica: replica(g, h.o.Node).ID, Members: replicas(g, 1, 2, 3), Machine: m, Campaign: i == int(g)%3}); err != nil {
				b.Fatal(err)
			}
		}
	}
	return c
}

func (c *benchCluster) close() {
	for i, h := range c.hosts {
		h.Stop()
		_ = c.logs[i].Close()
	}
	c.links.Range(func(_, l any) bool { close(l.(chan []byte)); return true })
	c.wg.Wait()
}

func (c *benchCluster) waitLeaders() {
	for g := range c.machines[0] {
		for !c.machines[0][g].ready.Load() && !c.machines[1][g].ready.Load() && !c.machines[2][g].ready.Load() {
			time.Sleep(time.Millisecond)
		}
	}
}

func (c *benchCluster) lead(g base.GroupID) (*Group, *counter) {
	for i, h := range c.hosts {
		if c.machines[i][g].ready.Load() {
			return h.Group(g), c.machines[i][g]
		}
	}
	return nil, nil
}

// BenchmarkPropose: three nodes in one process, one group, window entries on
// their way at a time.
func BenchmarkPropose(b *testing.B) {
	for _, fs := range []struct {
		name string
		fs   vfs.FS
	}{{"disk", vfs.Default}, {"memory", vfs.NewMem()}} {
		for _, size := range []int{128, 12800} {
			for _, window := range []int{1, 64} {
				b.Run(fmt.Sprintf("%s/%d/window=%d", fs.name, size, window), func(b *testing.B) { propose(b, fs.fs, size, window) })
			}
		}
	}
}

func propose(b *testing.B, fs vfs.FS, size, window int) {
	c := newBench(b, fs, 1, 64<<20)
	defer c.close()
	c.waitLeaders()
	g, m := c.lead(1)
	tokens := make(chan struct{}, window)
	m.done = func(n int) {
		for range n {
			<-tokens
		}
	}
	b.SetBytes(int64(size))
	b.ReportAllocs()
	b.ResetTimer()
	for i := range b.N {
		tokens <- struct{}{}
		if i%1000 == 999 {
			for j, h := range c.hosts {
				h.Group(1).Compact(c.machines[j][1].applied.Load())
			}
		}
		for {
			err := g.Propose(make([]byte, size))
			if err == nil {
				break
			}
			if !errors.Is(err, ErrOverloaded) {
				b.Fatal(err)
			}
			runtime.Gosched()
		}
	}
	for range window {
		tokens <- struct{}{}
	}
	b.StopTimer()
}

// BenchmarkIdleGroups reports what 2,000 sleeping groups of three cost.
func BenchmarkIdleGroups(b *testing.B) {
	const groups = 2000
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	start := time.Now()
	c := newBench(b, vfs.NewMem(), groups, 8<<20)
	defer c.close()
	c.waitLeaders()
	elected := time.Since(start)
	for _, h := range c.hosts {
		for h.Stats().Awake > 0 {
			time.Sleep(100 * time.Millisecond)
		}
	}
	asleep := time.Since(start)
	runtime.GC()
	runtime.ReadMemStats(&after)
	cpu := cpuTime()
	time.Sleep(10 * time.Second)
	cpu = cpuTime() - cpu
	for range b.N {
	}
	b.ReportMetric(float64(elected.Milliseconds()), "ms-to-elect")
	b.ReportMetric(float64(asleep.Milliseconds()), "ms-to-sleep")
	b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/groups/3, "B/replica")
	b.ReportMetric(100*cpu.Seconds()/10, "%cpu-asleep")
}

func cpuTime() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
