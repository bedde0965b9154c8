package differential

import (
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"weir/conformance/procs"
)

var (
	seed  = flag.Uint64("seed", 0, "run this list of requests only")
	seeds = flag.Int("seeds", 20, "how many lists to run")
	first = flag.Uint64("first", 1, "the first of them")
	size  = flag.Int("steps", 80, "how many requests each has")
)

// weirBin and natsBin are the programs.
var weirBin, natsBin string

func TestMain(m *testing.M) {
	flag.Parse()
	os.Exit(run(m))
}

func run(m *testing.M) int {
	var err error
	if natsBin, err = procs.NatsServer(); err != nil {
		fmt.Println("skipped:", err)
		return 0
	}
	if weirBin = os.Getenv("WEIR_BIN"); weirBin != "" {
		return m.Run()
	}
	dir, err := os.MkdirTemp("", "weir-differential-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	weirBin = filepath.Join(dir, "weir")
	if err := procs.BuildWeir(context.Background(), "../..", weirBin); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

// startPair starts a cluster of each server and connects to them.
func startPair(ctx context.Context, t *testing.T, nodes int) *Pair {
	t.Helper()
	documents := &Schemas{}
	check := func(s *step, m *nats.Msg) error {
		if !strings.HasPrefix(s.subject, "$JS.API.") || strings.HasPrefix(s.subject, "$JS.API.DIRECT.") || len(m.Data) == 0 {
			return nil
		}
		return documents.Check(m.Data)
	}
	pair := &Pair{Weir: startSide(ctx, t, weirBin, nodes), Nats: startSide(ctx, t, natsBin, nodes), Check: check}
	if nodes > 1 {
		pair.Lag = time.Second
	}
	return pair
}

// accounts are in the configuration of both servers.
const accounts = `
server_tags: [all]
accounts {
  APP { jetstream: enabled, users: [{user: app, password: x}] }
  LIM {
    jetstream: {max_mem: 2000, max_file: 5000, max_streams: 2, max_consumers: 2, max_bytes_required: true, store_max_stream_bytes: 2000}
    users: [{user: limited, password: x}]
  }
  SYS { users: [{user: system, password: x}] }
}
system_account: SYS
no_auth_user: app
`

func startSide(ctx context.Context, t *testing.T, bin string, nodes int) Side {
	t.Helper()
	c := startCluster(ctx, t, procs.Spec{Bin: bin, Nodes: nodes, Extra: accounts})
	return Side{"": connect(t, c), limitedUser: connect(t, c, nats.UserInfo(limitedUser, "x")), systemUser: connect(t, c, nats.UserInfo(systemUser, "x"))}
}

func startCluster(ctx context.Context, t *testing.T, spec procs.Spec) *procs.Cluster {
	t.Helper()
	spec.Dir = t.TempDir()
	c, err := procs.New(spec)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Kill)
	if err := c.Start(ctx); err != nil {
		t.Fatal(err)
	}
	return c
}

func connect(t *testing.T, c *procs.Cluster, options ...nats.Option) *nats.Conn {
	t.Helper()
	nc, err := nats.Connect(c.Nodes[0].URL(), options...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	return nc
}

func TestOneNode(t *testing.T)    { differential(t, 1) }
func TestThreeNodes(t *testing.T) { differential(t, 3) }

const trialTime = 10 * time.Minute

func differential(t *testing.T, nodes int) {
	ctx, cancel := context.WithTimeout(t.Context(), trialTime)
	defer cancel()
	pair := startPair(ctx, t, nodes)
	from, to := *first, *first+uint64(*seeds)
	if *seed != 0 {
		from, to = *seed, *seed+1
	}
	for n := from; n < to; n++ {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			steps := generate(Options{Seed: n, Steps: *size, Replicas: nodes})
			f, err := pair.run(ctx, steps)
			if err != nil {
				t.Fatal(err)
			}
			if f == nil {
				return
			}
			steps, f, err = pair.shrink(ctx, steps, f)
			if err != nil {
				t.Fatal(err)
			}
			report(t, n, steps, f)
		})
	}
}

func report(t *testing.T, seed uint64, steps []*step, f *finding) {
	t.Helper()
	var b strings.Builder
	for _, s := range steps {
		fmt.Fprintf(&b, "  %s\n", s)
	}
	for _, d := range f.differences {
		fmt.Fprintf(&b, "    %s\n", d)
	}
	name, _, _ := strings.Cut(t.Name(), "/")
	t.Errorf("the answers to the last of these differ:\n%sto repeat: go test ./differential -run '^%s$' -seed %d -steps %d", b.String(), name, seed, *size)
}
