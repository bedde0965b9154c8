package sim

import (
	"flag"
	"fmt"
	"testing"
	"testing/cryptotest"
	"testing/synctest"
)

var (
	seed  = flag.Uint64("seed", 0, "run this schedule only")
	seeds = flag.Int("seeds", 20, "how many schedules to run")
	first = flag.Uint64("first", 1, "the first of them")
	debug = flag.Bool("debug", false, "log all that the nodes say")
)

// simulate runs one schedule in a bubble of virtual time.
func simulate(t *testing.T, o Options) {
	cryptotest.SetGlobalRandom(t, o.Seed)
	synctest.Test(t, func(t *testing.T) {
		o.Wait, o.Logf, o.Debug = synctest.Wait, t.Logf, *debug
		for _, f := range Run(o) {
			t.Error(f)
		}
	})
}

func TestOneNode(t *testing.T) {
	simulate(t, Options{Seed: 1, Nodes: 1, Steps: 200})
}

func TestThreeNodesWithoutFaults(t *testing.T) {
	simulate(t, Options{Seed: 1, Nodes: 3, Steps: 200})
}

// TestSchedules runs random schedules; -seeds says how many, from -first on. A
// seed that fails is repeated with -seed, and -debug shows all that the nodes say.
func TestSchedules(t *testing.T) {
	from, to := *first, *first+uint64(*seeds)
	if *seed != 0 {
		from, to = *seed, *seed+1
	}
	for s := from; s < to; s++ {
		t.Run(fmt.Sprint(s), func(t *testing.T) {
			simulate(t, schedule(s))
			if t.Failed() {
				t.Logf("to repeat: go test ./internal/sim -run TestSchedules -seed %d -v", s)
			}
		})
	}
}

// schedule is the run of a seed.
func schedule(seed uint64) Options {
	return Options{Seed: seed, Nodes: 3 + int(seed%3), Steps: 300, Faults: true}
}
