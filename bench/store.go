package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"weir/conformance/procs"
)

// storeOptions say how much `bench store` stores and how long it may take.
type storeOptions struct {
	options
	subjects   int // messages of the first stream, each with a subject of its own
	overwrites int // messages that replace others of the first stream
	messages   int // messages of the second stream
	limited    int // messages of each stream with limits that nothing reaches
	size       int // bytes of a payload
	replicas   int
	limit      time.Duration // of each filling
	sides      []side
}

// storeSides are the values of -only.
var storeSides = map[string][]side{"": {peerSide, weirSide}, "peer": {peerSide}, "weir": {weirSide}}

// runStore is `bench store`: large streams on each side in turn, and what they
// cost in time, memory and disk.
func runStore(ctx context.Context) error {
	var o storeOptions
	flags := flag.NewFlagSet("bench store", flag.ExitOnError)
	flags.IntVar(&o.subjects, "subjects", 10_000_000, "subjects with one message each; 0 leaves this part out")
	flags.IntVar(&o.overwrites, "overwrites", 1_000_000, "messages that then replace random ones of them")
	flags.IntVar(&o.messages, "messages", 0, "messages of a second stream with 1000 subjects; 0 leaves this part out")
	flags.IntVar(&o.limited, "limited", 0, "messages of each of a few streams with limits that nothing reaches; 0 leaves this part out")
	flags.IntVar(&o.size, "size", 64, "bytes of a payload")
	flags.IntVar(&o.replicas, "replicas", 1, "replicas, and nodes")
	flags.DurationVar(&o.limit, "limit", 15*time.Minute, "longest time of one filling; it ends there with what is stored")
	only := flags.String("only", "", "weir or peer: one side only")
	flags.StringVar(&o.weir, "weir", "", "Weir's program; built from ../cmd/weir if empty")
	flags.StringVar(&o.peer, "peer", "", "nats-server's program; installed into the user's cache if empty")
	flags.StringVar(&o.dir, "dir", "", "directory for the servers' data; a temporary one if empty")
	if err := flags.Parse(os.Args[2:]); err != nil {
		return err
	}
	o.sides = storeSides[*only]
	if flags.NArg() > 0 || o.sides == nil || o.replicas < 1 || o.size < 1 {
		return errors.New("wrong usage; see -h")
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
	var t storeTable
	for _, s := range o.sides {
		if err := o.storeSide(ctx, s, &t); err != nil {
			t.print(os.Stdout, &o)
			return fmt.Errorf("%s: %w", o.bin(s), err)
		}
	}
	t.print(os.Stdout, &o)
	return nil
}

// storeSide runs all parts on one side.
func (o *storeOptions) storeSide(ctx context.Context, s side, t *storeTable) (err error) {
	dir, err := os.MkdirTemp(o.dir, "store-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	c, err := procs.New(procs.Spec{Bin: o.bin(s), Dir: dir, Nodes: o.replicas})
	if err != nil {
		return err
	}
	defer c.Kill()
	if err := c.Start(ctx); err != nil {
		return err
	}
	trial := &storeTrial{o: o, c: c, side: s, table: t}
	if o.subjects > 0 {
		if err := trial.manySubjects(ctx); err != nil {
			return fmt.Errorf("many subjects: %w", err)
		}
	}
	if o.messages > 0 {
		if err := trial.manyMessages(ctx); err != nil {
			return fmt.Errorf("many messages: %w", err)
		}
	}
	if o.limited > 0 {
		if err := trial.limits(ctx); err != nil {
			return fmt.Errorf("limits: %w", err)
		}
	}
	return nil
}

// storeTrial is one side under trial.
type storeTrial struct {
	o     *storeOptions
	c     *procs.Cluster
	side  side
	table *storeTable
}

// stream makes a stream, and removes all others.
func (t *storeTrial) stream(ctx context.Context, config jetstream.StreamConfig) error {
	nc, js, err := t.connect()
	if err != nil {
		return err
	}
	defer nc.Close()
	for name := range js.StreamNames(ctx).Name() {
		if err := js.DeleteStream(ctx, name); err != nil {
			return fmt.Errorf("delete stream %s: %w", name, err)
		}
	}
	return t.create(ctx, js, config)
}

// create makes a stream on disk.
func (t *storeTrial) create(ctx context.Context, js jetstream.JetStream, config jetstream.StreamConfig) error {
	config.Replicas, config.Storage, config.AllowDirect = t.o.replicas, jetstream.FileStorage, true
	return procs.Until(ctx, "the stream is made", func() error {
		_, err := js.CreateStream(ctx, config)
		return err
	})
}

func (t *storeTrial) connect() (*nats.Conn, jetstream.JetStream, error) {
	nc, err := nats.Connect(t.c.URLs(), nats.MaxReconnects(-1))
	if err != nil {
		return nil, nil, err
	}
	js, err := jetstream.New(nc)
	if err != nil {
		nc.Close()
	}
	return nc, js, err
}

// note enters a figure into the table.
func (t *storeTrial) note(row, format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	fmt.Fprintf(os.Stderr, "%-5s %-60s %s\n", [...]string{"peer", "weir"}[t.side], row, text)
	t.table.set(row, t.side, text)
}

// storeTable collects figures by row, in the order in which rows first appear.
type storeTable struct {
	rows    []string
	figures map[string]*[2]string
}

func (t *storeTable) set(row string, s side, text string) {
	if t.figures == nil {
		t.figures = map[string]*[2]string{}
	}
	if t.figures[row] == nil {
		t.figures[row] = &[2]string{"–", "–"}
		t.rows = append(t.rows, row)
	}
	t.figures[row][s] = text
}

func (t *storeTable) print(out io.Writer, o *storeOptions) {
	fmt.Fprintf(out, "\n%s. %d replicas, file storage, %d B payloads, one client with a window of %d: %s.\n\n",
		time.Now().Format(time.DateOnly), o.replicas, o.size, storeWindow, machine())
	fmt.Fprintln(out, "| | nats-server | Weir |")
	fmt.Fprintln(out, "|---|---:|---:|")
	for _, row := range t.rows {
		fmt.Fprintf(out, "| %s | %s | %s |\n", row, t.figures[row][peerSide], t.figures[row][weirSide])
	}
}
