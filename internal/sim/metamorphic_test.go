package sim

import (
	"flag"
	"fmt"
	"strings"
	"testing"
	"testing/cryptotest"
	"testing/synctest"
	"time"

	"weir/internal/api"
)

var (
	lists     = flag.Int("lists", 1, "how many lists of operations to play in all variants")
	firstList = flag.Uint64("first-list", 1, "the seed of the first of them")
	listSize  = flag.Int("operations", 50, "how many operations a list has")
)

// variant is a cluster and what happens to it while a list is played. None of it is to be
// seen by a client that waits for the cluster to be whole.
type variant struct {
	name     string
	nodes    int
	replicas int
	storage  api.Storage
	tail     uint64 // of the log; 1 has replicas that were away brought up to date by images
	disturb  func(*world, uint64)
}

var variants = []variant{
	{name: "one node", nodes: 1, replicas: 1, storage: api.FileStorage, tail: 100},
	{name: "one node, in memory", nodes: 1, replicas: 1, storage: api.MemoryStorage, tail: 100},
	{name: "one node that crashes", nodes: 1, replicas: 1, storage: api.FileStorage, tail: 1, disturb: restart},
	{name: "step-downs", nodes: 4, replicas: 3, storage: api.FileStorage, tail: 100, disturb: stepDowns},
	{name: "one replica of four nodes, step-downs", nodes: 4, replicas: 1, storage: api.FileStorage, tail: 100, disturb: stepDowns},
	{name: "one away, caught up by the log", nodes: 3, replicas: 3, storage: api.FileStorage, tail: 1000, disturb: oneAway},
	{name: "one away, caught up by images", nodes: 3, replicas: 3, storage: api.FileStorage, tail: 1, disturb: oneAway},
	{name: "one away, in memory", nodes: 3, replicas: 3, storage: api.MemoryStorage, tail: 1, disturb: oneAway},
}

// restart crashes a node and starts it again.
func restart(w *world, pick uint64) {
	n := w.nodes[pick%uint64(len(w.nodes))]
	n.crash(pick&256 != 0, 0)
	w.startNode(n)
}

// stepDowns asks the leaders of all to step down.
func stepDowns(w *world, pick uint64) {
	n := w.nodes[pick%uint64(len(w.nodes))]
	for _, subject := range []string{"STREAM.LEADER.STEPDOWN.S", "CONSUMER.LEADER.STEPDOWN.S.c", "CONSUMER.LEADER.STEPDOWN.S.d", "META.LEADER.STEPDOWN"} {
		w.request(n, subject, nil)
	}
}

// oneAway brings back who is away and takes another node away, until the next time.
func oneAway(w *world, pick uint64) {
	w.startAll()
	if !w.eventually(gapTime/2, func() bool { return w.wholeOrNone() }) {
		w.fail("the stream is not whole %v after all nodes are up", gapTime/2)
	}
	n := w.nodes[pick%uint64(len(w.nodes))]
	if pick&256 != 0 {
		n.crash(pick&512 != 0, 0)
	} else if err := n.stop(); err != nil {
		w.fail("stop %s: %v", n.name, err)
	}
}

// wholeOrNone tells whether the stream has all its replicas, or is not there.
func (w *world) wholeOrNone() bool {
	if w.apart(api.StreamConfig{Name: "S", Replicas: min(3, len(w.nodes))}) == "" {
		return true
	}
	for _, n := range w.nodes {
		if n.up() && n.life.streamNamed("S") != nil {
			return false
		}
	}
	return true
}

// TestEqualResults plays random lists of operations through the nodes of different
// clusters, with crashes, step-downs and images in between: clients see the same.
func TestEqualResults(t *testing.T) {
	for seed := *firstList; seed < *firstList+uint64(*lists); seed++ {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			list := operationList(seed, *listSize)
			references := map[*variant][]string{}
			for i := range variants {
				v := &variants[i]
				ref := reference(seed, v)
				if references[ref] == nil {
					references[ref] = results(t, list, ref)
				}
				if v == ref {
					continue
				}
				difference := firstDifference(list, references[ref], results(t, list, v))
				if difference == "" {
					continue
				}
				short, difference := shortest(t, list, ref, v, difference)
				var texts []string
				for _, o := range short {
					texts = append(texts, fmt.Sprintf("gap %t, %s", o.gap, o.text))
				}
				t.Errorf("%s differs from %s after\n%s\n%s\nto repeat: go test ./internal/sim -run TestEqualResults -first-list %d -operations %d",
					v.name, ref.name, strings.Join(texts, "\n"), difference, seed, *listSize)
			}
		})
	}
}

// reference is what a variant has to be equal to.
func reference(seed uint64, v *variant) *variant {
	if byBytes(seed) && v.storage == api.MemoryStorage {
		return &variants[1]
	}
	return &variants[0]
}

// differs plays a list in two variants and says what the first difference is.
func differs(t *testing.T, list []operation, ref, v *variant) string {
	return firstDifference(list, results(t, list, ref), results(t, list, v))
}

func firstDifference(list []operation, want, got []string) string {
	for i := range want {
		if i >= len(got) || got[i] != want[i] {
			text := "the end"
			if i < len(list) {
				text = list[i].text
			}
			return fmt.Sprintf("at %s:\n%s", text, firstUnlike(append(got, "")[i], want[i]))
		}
	}
	return ""
}

// firstUnlike shows the first lines that differ.
func firstUnlike(got, want string) string {
	g, w := strings.Split(got, "\n"), strings.Split(want, "\n")
	i := 0
	for i < min(len(g), len(w))-1 && g[i] == w[i] {
		i++
	}
	return fmt.Sprintf("got  %s\nwant %s", g[i], w[i])
}

// shortest leaves out what a difference does not need.
func shortest(t *testing.T, list []operation, ref, v *variant, difference string) ([]operation, string) {
	for size := len(list) / 2; size > 0; size /= 2 {
		for from := 0; from+size <= len(list); {
			without := append(append([]operation(nil), list[:from]...), list[from+size:]...)
			if d := differs(t, without, ref, v); d != "" {
				list, difference = without, d
			} else {
				from += size
			}
		}
	}
	return list, difference
}

// results plays a list in a variant and returns what was seen of each operation, and at
// the end what is stored.
func results(t *testing.T, list []operation, v *variant) (seen []string) {
	cryptotest.SetGlobalRandom(t, 1)
	synctest.Test(t, func(t *testing.T) {
		o := Options{Seed: 1, Nodes: v.nodes, Wait: synctest.Wait, Logf: func(string, ...any) {}}
		if *debug {
			o.Logf, o.Debug = t.Logf, true
		}
		w := newCluster(o)
		p := &player{world: w, variant: v}
		w.ears["eq"] = p
		w.checkpoints, w.logTail = 2*time.Second, v.tail
		if w.startAll() && w.eventually(formTime, func() bool { return w.metaLeader() != nil }) {
			seen = p.playAll(list)
		}
		w.stopAll()
		seen = append(seen, w.failures()...)
	})
	return seen
}

// playAll plays a list, each operation at its time.
func (p *player) playAll(list []operation) (seen []string) {
	p.slot = p.world.began.Truncate(time.Second).Add(formTime + time.Second)
	for i := range list {
		o := &list[i]
		if o.gap {
			p.gaps = append(p.gaps, p.slot)
			if p.slot = p.slot.Add(gapTime); p.variant.disturb != nil {
				p.variant.disturb(p.world, o.pick)
			}
		}
		sleep(p.slot.Sub(now()))
		seen = append(seen, p.play(o))
		p.slot = p.slot.Add(slotTime)
	}
	p.gaps = append(p.gaps, p.slot)
	p.world.startAll()
	sleep(p.slot.Add(gapTime).Sub(now()))
	return append(seen, p.contents())
}
