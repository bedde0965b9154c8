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
	if t.Failed() {
		t.Logf("to repeat: go test ./internal/sim -run '^%s$' -seed %d -v", "TestSchedules", o.Seed)
	}
}

func TestOneNode(t *testing.T) {
	simulate(t, Options{Seed: 1, Nodes: 1, Steps: 200})
}

func TestThreeNodesWithoutFaults(t *testing.T) {
	simulate(t, Options{Seed: 1, Nodes: 3, Steps: 200})
}

func TestSchedules(t *testing.T) {
	if *seed != 0 {
		simulate(t, schedule(*seed))
		return
	}
	for s := *first; s < *first+uint64(*seeds); s++ {
		t.Run(fmt.Sprint(s), func(t *testing.T) { simulate(t, schedule(s)) })
	}
}

// schedule is the run of a seed.
func schedule(seed uint64) Options {
	return Options{Seed: seed, Nodes: 3 + int(seed%3), Steps: 300, Faults: true}
}
