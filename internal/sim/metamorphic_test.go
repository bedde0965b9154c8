package sim

import (
	"flag"
	"fmt"
	"regexp"
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
				difference := firstDifference(v, list, references[ref], results(t, list, v))
				if difference == "" {
					continue
				}
				var texts []string
				if !t.Failed() {
					var short []operation
					short, difference = shortest(t, list, ref, v, difference)
					for _, o := range short {
						texts = append(texts, fmt.Sprintf("gap %t, %s", o.gap, o.text))
					}
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
	return firstDifference(v, list, results(t, list, ref), results(t, list, v))
}

func firstDifference(v *variant, list []operation, want, got []string) string {
	for i := range want {
		if i >= len(got) || unlike(v, got[i], want[i]) {
			text := "the end"
			if i < len(list) {
				text = list[i].text
			}
			return fmt.Sprintf("at %s:\n%s", text, firstUnlike(append(got, "")[i], want[i]))
		}
	}
	return ""
}

// refusal is an answer to what changed nothing.
var refusal = regexp.MustCompile(`\{"(error":\{[^{}]*\}|duplicate":true)[^{}]*\}`)

// unlike tells whether two nodes' answers differ. Of what is wrong with a request in two ways a cluster names another one than a
// node alone, as in nats-server.
func unlike(v *variant, got, want string) bool {
	if got == want {
		return false
	}
	return v.nodes == 1 || refusal.ReplaceAllString(got, "refused") != refusal.ReplaceAllString(want, "refused")
}

// firstUnlike shows the first lines that differ.
func firstUnlike(got, want string) string {
	g, w := strings.Split(got, "\n"), strings.Split(want, "\n")
	i := 0
	for i < min(len(g), len(w))-1 && g[i] == w[i] {
		i++
	}
	same := 0
	for same < min(len(g[i]), len(w[i])) && g[i][same] == w[i][same] {
		same++
	}
	from := max(same-80, 0)
	return fmt.Sprintf("after %q\ngot  %s\nwant %s", g[i][:from], g[i][from:], w[i][from:])
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
		p := &player{world: w, variant: v, replicas: v.replicas, calls: calls{world: w}}
		w.ears["eq"], w.ears["call"] = p, &p.calls
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
	p.slot = p.world.began.Truncate(time.Second).Add(formTime + time.Second + slotOffset)
	for i := range list {
		o := &list[i]
		if o.gap && (i == 0 || !list[i-1].unsettles) {
			p.gap(p.slot, o.pick)
		}
		sleep(p.slot.Sub(now()))
		seen = append(seen, p.play(o))
		began := p.slot
		if p.slot = p.slot.Add(slotTime + o.takes); o.unsettles {
			p.gap(began, o.pick)
		}
	}
	p.gaps = append(p.gaps, span{p.slot, p.slot.Add(gapTime)})
	p.world.startAll()
	sleep(p.slot.Add(gapTime).Sub(now()))
	return append(seen, p.contents())
}

// gap lets time pass in which nobody does anything but what the variant does. What began at some time may last until its end.
func (p *player) gap(began time.Time, pick uint64) {
	p.slot = p.slot.Add(gapTime)
	p.gaps = append(p.gaps, span{began, p.slot})
	if p.variant.disturb != nil {
		p.variant.disturb(p, pick)
	}
}
