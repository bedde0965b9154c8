// Command bench runs the same work on a three-node cluster of nats-server and on
// one of Weir, in turn on this machine, and prints both figures and their ratio as
// a Markdown table. Streams are on disk with three replicas; nats-server has its
// default settings, so it acknowledges before its data is synced. "bench scale"
// measures many replicated consumers on one stream instead, and "bench store" a
// stream of ten million subjects; see scale.go and store.go.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"weir/conformance/procs"
)

// peerModule is what Weir is compared with.
const peerModule = "github.com/nats-io/nats-server/v2@v2.15.2"

type options struct {
	weir, peer string // programs
	dir        string // for the clusters' files
	length     time.Duration
	rounds     int
	rows       []row
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	work := run
	if len(os.Args) > 1 {
		switch os.Args[1] {
		case "scale":
			work = runScale
		case "store":
			work = runStore
		}
	}
	if err := work(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		stop()
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	var o options
	seconds := flag.Float64("seconds", 5, "length of each row in each round")
	flag.IntVar(&o.rounds, "rounds", 3, "rounds; the median counts")
	flag.StringVar(&o.weir, "weir", "", "Weir's program; built from ../cmd/weir if empty")
	flag.StringVar(&o.peer, "peer", "", "nats-server's program; installed into the user's cache if empty")
	flag.StringVar(&o.dir, "dir", "", "directory for the servers' data; a temporary one if empty")
	names := flag.String("rows", "", "rows to run, comma-separated: "+strings.Join(rowNames(), ","))
	flag.Parse()
	if flag.NArg() > 0 || *seconds <= 0 || o.rounds < 1 {
		return fmt.Errorf("wrong usage; see -h")
	}
	o.length = time.Duration(*seconds * float64(time.Second))
	var err error
	if o.rows, err = selectRows(*names); err != nil {
		return err
	}
	temporary, err := os.MkdirTemp(o.dir, "weir-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(temporary)
	o.dir = temporary
	if err := o.programs(ctx); err != nil {
		return err
	}
	results, err := o.measure(ctx)
	if err != nil {
		return err
	}
	return o.report(ctx, os.Stdout, results)
}

// programs makes the programs that were not given.
func (o *options) programs(ctx context.Context) error {
	if o.weir == "" {
		o.weir = filepath.Join(o.dir, "weir")
		if err := procs.BuildWeir(ctx, "..", o.weir); err != nil {
			return err
		}
	}
	if o.peer != "" {
		return nil
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return err
	}
	cache = filepath.Join(cache, "weir-bench")
	o.peer = filepath.Join(cache, "nats-server")
	cmd := exec.CommandContext(ctx, "go", "install", peerModule)
	cmd.Dir, cmd.Env = o.dir, append(os.Environ(), "GOBIN="+cache)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("install %s: %w\n%s", peerModule, err, out)
	}
	return nil
}

// side is one of the two programs.
type side int

const (
	peerSide side = iota
	weirSide
)

func (o *options) bin(s side) string {
	if s == weirSide {
		return o.weir
	}
	return o.peer
}

// results are figures by row and side, one per round.
type results map[string]*[2][]figure

// measure runs all rounds. The side that goes first alternates, so that what
// changes on the machine over time hits both.
func (o *options) measure(ctx context.Context) (results, error) {
	all := results{}
	for _, r := range o.rows {
		all[r.name] = &[2][]figure{}
	}
	for round := range o.rounds {
		for turn := range 2 {
			s := side((round + turn) % 2)
			if err := o.round(ctx, s, round, all); err != nil {
				return nil, fmt.Errorf("round %d with %s: %w", round+1, o.bin(s), err)
			}
		}
	}
	return all, nil
}

// stopTime is how long servers may take to end.
const stopTime = 30 * time.Second

// round runs every row on a new cluster.
func (o *options) round(ctx context.Context, s side, number int, all results) (err error) {
	dir, err := os.MkdirTemp(o.dir, "round-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	c, err := procs.New(procs.Spec{Bin: o.bin(s), Dir: dir})
	if err != nil {
		return err
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTime)
		defer cancel()
		if stopErr := c.Stop(ctx); err == nil {
			err = stopErr
		}
	}()
	if err := c.Start(ctx); err != nil {
		return err
	}
	for _, r := range o.rows {
		f, err := o.one(ctx, c, r)
		if err != nil {
			return fmt.Errorf("%s: %w", r.name, err)
		}
		fmt.Fprintf(os.Stderr, "round %d  %-12s %-14s %10.0f msg/s %8.1f µs\n", number+1, filepath.Base(o.bin(s)), r.name, f.rate, f.cpu)
		all[r.name][s] = append(all[r.name][s], f)
	}
	return nil
}

// spareTime is what a row may take beside its length: to fill and delete streams
// and until the last answers.
const spareTime = 2 * time.Minute

func (o *options) one(ctx context.Context, c *procs.Cluster, r row) (figure, error) {
	ctx, cancel := context.WithTimeout(ctx, o.length+spareTime)
	defer cancel()
	w, err := newWork(ctx, c, r, o.length)
	if err != nil {
		return figure{}, err
	}
	defer w.close()
	return r.run(w)
}
