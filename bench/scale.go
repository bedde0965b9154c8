package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"weir/conformance/procs"
)

// peerMost is how many replicated consumers of one stream nats-server allows
// unless it is configured otherwise. Beyond it, Weir is measured alone.
const peerMost = 1000

// scaleTime bounds the measurement of one cluster.
const scaleTime = 8 * time.Minute

// runScale measures what many replicated durables on one replicated stream cost:
// their creation, idle CPU and memory; how long a message takes to those that
// it matches; how long until all deliver again when the node that runs most of them
// was killed; when it runs its share again; and what its stop in good order costs.
func runScale(ctx context.Context) error {
	var o options
	flags := flag.NewFlagSet("scale", flag.ExitOnError)
	sizes := flags.String("consumers", "1000", "how many consumers, comma-separated")
	idle := flags.Float64("idle", 20, "seconds over which idle CPU is measured")
	flags.StringVar(&o.weir, "weir", "", "Weir's program; built from ../cmd/weir if empty")
	flags.StringVar(&o.peer, "peer", "", "nats-server's program; installed into the user's cache if empty")
	flags.StringVar(&o.dir, "dir", "", "directory for the servers' data; a temporary one if empty")
	if err := flags.Parse(os.Args[2:]); err != nil {
		return err
	}
	var counts []int
	for _, text := range strings.Split(*sizes, ",") {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 || flags.NArg() > 0 {
			return fmt.Errorf("wrong usage; see -h")
		}
		counts = append(counts, n)
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
	o.length = time.Duration(*idle * float64(time.Second))
	var columns []scaleColumn
	for _, n := range counts {
		for _, s := range [...]side{peerSide, weirSide} {
			if s == peerSide && n > peerMost {
				continue
			}
			column, err := o.scaleOne(ctx, s, n)
			if err != nil {
				return fmt.Errorf("%d consumers with %s: %w", n, o.bin(s), err)
			}
			columns = append(columns, column)
		}
	}
	return o.reportScale(ctx, os.Stdout, columns)
}

// scaleColumn is the figures of one cluster.
type scaleColumn struct {
	side      side
	consumers int
	figures   map[string]string
}

// scaleFigures are the rows of the table, in order.
var scaleFigures = [...]string{
	"created per second",
	"CPU of the three servers per creation, µs",
	"idle CPU of the three servers without them, % of a core",
	"idle CPU with them, % of a core",
	"memory per consumer and node, KiB",
	"message to 1 consumer, ms",
	"message to 100, ms",
	"message to 10,000, ms",
	"message to all, ms",
	"CPU of the three servers per consumer that a message goes to, µs",
	"node killed: all deliver again after, ms",
	"node back: runs its share again after, s",
	"node stopped: longest that a message to 100 took, ms",
}

// scaleOne starts a cluster and takes all figures from it.
func (o *options) scaleOne(ctx context.Context, s side, n int) (column scaleColumn, err error) {
	ctx, cancel := context.WithTimeout(ctx, scaleTime)
	defer cancel()
	dir, err := os.MkdirTemp(o.dir, "scale-")
	if err != nil {
		return column, err
	}
	defer os.RemoveAll(dir)
	c, err := procs.New(procs.Spec{Bin: o.bin(s), Dir: dir})
	if err != nil {
		return column, err
	}
	defer c.Kill()
	if err := c.Start(ctx); err != nil {
		return column, err
	}
	column = scaleColumn{side: s, consumers: n, figures: map[string]string{}}
	w := &scaleWork{ctx: ctx, cluster: c, n: n, idle: o.length, put: func(figure, value string) {
		fmt.Fprintf(os.Stderr, "%-12s %7d consumers  %-60s %s\n", filepath.Base(o.bin(s)), n, figure, value)
		column.figures[figure] = value
	}}
	defer w.close()
	return column, w.run()
}

func (o *options) reportScale(ctx context.Context, out *os.File, columns []scaleColumn) error {
	weir, err := versionOf(ctx, o.weir)
	if err != nil {
		return err
	}
	peer, err := versionOf(ctx, o.peer)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "%s. Replicated durables on one R3 file stream; three nodes and the clients on one machine: %s.\n", time.Now().Format(time.DateOnly), machine())
	fmt.Fprintf(out, "%s (default settings) and %s. A message has arrived when the last of its consumers delivered it.\n\n", peer, weir)
	header, rule := "| |", "|---|"
	for _, c := range columns {
		header += fmt.Sprintf(" %s, %s |", [...]string{"nats-server", "Weir"}[c.side], commas(int64(c.consumers)))
		rule += "---:|"
	}
	fmt.Fprintf(out, "%s\n%s\n", header, rule)
	for _, figure := range scaleFigures {
		line := "| " + figure + " |"
		for _, c := range columns {
			line += " " + c.figures[figure] + " |"
		}
		fmt.Fprintln(out, line)
	}
	return nil
}
