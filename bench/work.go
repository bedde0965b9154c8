package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"weir/conformance/procs"
)

const (
	streamName    = "BENCH"
	streamSubject = "bench"
	window        = 500 // unanswered publishes of one client
	fetchBatch    = 500
)

// work is what a row has to work with: a new stream, its own connections, and
// how long to go on.
type work struct {
	ctx     context.Context
	cluster *procs.Cluster
	row     row
	length  time.Duration
	payload []byte
	conns   []*nats.Conn
	stream  jetstream.Stream // nil without one
}

// newWork connects the clients. They are spread over the nodes, beginning with
// one that does not lead the stream: most clients of a cluster are elsewhere.
func newWork(ctx context.Context, c *procs.Cluster, r row, length time.Duration) (*work, error) {
	w := &work{ctx: ctx, cluster: c, row: r, length: length, payload: make([]byte, r.size)}
	first := 0
	if r.stream {
		leader, err := w.makeStream(c)
		if err != nil {
			w.close()
			return nil, err
		}
		for i, n := range c.Nodes {
			if n.Name == leader {
				first = i + 1
			}
		}
	}
	for i := range r.clients {
		if err := w.connect(c.Nodes[(first+i)%len(c.Nodes)]); err != nil {
			w.close()
			return nil, err
		}
	}
	if r.stream { // drop the connection that made the stream
		w.conns[0].Close()
		w.conns = w.conns[1:]
		js, err := jetstream.New(w.conns[0])
		if err != nil {
			w.close()
			return nil, err
		}
		if w.stream, err = js.Stream(ctx, streamName); err != nil {
			w.close()
			return nil, fmt.Errorf("look up the stream: %w", err)
		}
	}
	return w, nil
}

func (w *work) connect(n *procs.Node) error {
	nc, err := nats.Connect(n.URL(), nats.NoReconnect())
	if err != nil {
		return fmt.Errorf("connect to %s: %w", n.Name, err)
	}
	w.conns = append(w.conns, nc)
	return nil
}

// makeStream makes the stream anew and returns its leader's name.
func (w *work) makeStream(c *procs.Cluster) (string, error) {
	if err := w.connect(c.Nodes[0]); err != nil {
		return "", err
	}
	js, err := jetstream.New(w.conns[0])
	if err != nil {
		return "", err
	}
	if err := js.DeleteStream(w.ctx, streamName); err != nil && !errors.Is(err, jetstream.ErrStreamNotFound) {
		return "", fmt.Errorf("delete the stream: %w", err)
	}
	config := jetstream.StreamConfig{Name: streamName, Subjects: []string{streamSubject}, Replicas: 3, Storage: jetstream.FileStorage}
	if _, err := js.CreateStream(w.ctx, config); err != nil {
		return "", fmt.Errorf("create the stream: %w", err)
	}
	var leader string
	err = procs.Until(w.ctx, "the stream has a leader and current followers", func() error {
		s, err := js.Stream(w.ctx, streamName)
		if err != nil {
			return err
		}
		info := s.CachedInfo().Cluster
		if info == nil || info.Leader == "" || len(info.Replicas) != 2 {
			return fmt.Errorf("%+v", info)
		}
		for _, r := range info.Replicas {
			if !r.Current {
				return fmt.Errorf("%s is not current", r.Name)
			}
		}
		leader = info.Leader
		return nil
	})
	return leader, err
}

func (w *work) close() {
	for _, nc := range w.conns {
		nc.Close()
	}
}

// perSecond runs one function per client at once and divides what they did by the
// time until the last was done, and the servers' CPU time by what they did.
func (w *work) perSecond(do func(client int, nc *nats.Conn, until time.Time) (int, error)) (figure, error) {
	type result struct {
		n   int
		err error
	}
	done := make(chan result)
	m, err := w.begin()
	if err != nil {
		return figure{}, err
	}
	for i, nc := range w.conns {
		go func() {
			n, err := do(i, nc, m.begun.Add(w.length))
			done <- result{n, err}
		}()
	}
	total := 0
	var errs []error
	for range w.conns {
		r := <-done
		total += r.n
		errs = append(errs, r.err)
	}
	f, err := m.done(total)
	return f, errors.Join(append(errs, err)...)
}
