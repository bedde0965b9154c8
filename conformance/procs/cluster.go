// Package procs runs clusters of real server processes on loopback, each from a
// configuration file in nats-server's syntax. Weir and nats-server take the same
// files, so either can be run.
package procs

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// Spec says what a cluster is made of.
type Spec struct {
	Bin   string // the server program
	Dir   string // for configuration, logs and stores; made if missing
	Nodes int    // 0 is three; one is a server without a cluster block
	Extra string // further lines of every configuration file
	// Tags are those of each node, by its index; nil for none.
	Tags func(i int) []string
}

// Cluster is a set of server processes that know of each other.
type Cluster struct {
	Nodes []*Node
}

// New writes the configuration files of a cluster and starts nothing.
func New(spec Spec) (*Cluster, error) {
	if spec.Nodes == 0 {
		spec.Nodes = 3
	}
	ports, err := freePorts(3 * spec.Nodes)
	if err != nil {
		return nil, err
	}
	c := &Cluster{}
	var routes []string
	for i := range spec.Nodes {
		name := "n" + strconv.Itoa(i+1)
		c.Nodes = append(c.Nodes, &Node{
			Name: name, Client: ports[3*i], Monitor: ports[3*i+1], Route: ports[3*i+2],
			Dir: filepath.Join(spec.Dir, name), bin: spec.Bin,
		})
		routes = append(routes, "nats://"+loopback(ports[3*i+2]))
	}
	if spec.Nodes == 1 {
		routes = nil
	}
	for i, n := range c.Nodes {
		extra := spec.Extra
		if spec.Tags != nil {
			extra += fmt.Sprintf("server_tags: [%s]\n", strings.Join(spec.Tags(i), ", "))
		}
		if err := n.configure(routes, extra); err != nil {
			return nil, err
		}
	}
	return c, nil
}

// Start starts every process and waits until all are healthy.
func (c *Cluster) Start(ctx context.Context) error {
	for _, n := range c.Nodes {
		if err := n.Start(); err != nil {
			return err
		}
	}
	return c.Ready(ctx)
}

// Ready waits until every node says that it is healthy.
func (c *Cluster) Ready(ctx context.Context) error {
	for _, n := range c.Nodes {
		if err := n.Ready(ctx); err != nil {
			return err
		}
	}
	return nil
}

// Kill ends every process at once, without a chance to write anything.
func (c *Cluster) Kill() {
	for _, n := range c.Nodes {
		n.signalKill()
	}
	for _, n := range c.Nodes {
		n.Kill()
	}
}

// Stop asks every process to end and waits for all. One that does not in time is
// killed and reported.
func (c *Cluster) Stop(ctx context.Context) error {
	stopped := make(chan error)
	for _, n := range c.Nodes {
		go func() { stopped <- n.Stop(ctx) }()
	}
	var errs []error
	for range c.Nodes {
		errs = append(errs, <-stopped)
	}
	return errors.Join(errs...)
}

// Named is the node of that name; nil if there is none.
func (c *Cluster) Named(name string) *Node {
	for _, n := range c.Nodes {
		if n.Name == name {
			return n
		}
	}
	return nil
}

// URLs are the client addresses of all nodes, as nats.Connect takes them.
func (c *Cluster) URLs() string {
	var urls []string
	for _, n := range c.Nodes {
		urls = append(urls, n.URL())
	}
	return strings.Join(urls, ",")
}

// pollEvery is how often Until looks.
const pollEvery = 20 * time.Millisecond

// Until looks until check finds nothing wrong. When ctx ends, the error says what
// was waited for and what was wrong last.
func Until(ctx context.Context, what string, check func() error) error {
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for {
		err := check()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waiting until %s: %w (%w)", what, err, ctx.Err())
		case <-tick.C:
		}
	}
}

// configText is a node's configuration file.
func configText(n *Node, routes []string, extra string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "server_name: %s\nlisten: %q\nhttp: %q\n", n.Name, loopback(n.Client), loopback(n.Monitor))
	fmt.Fprintf(&b, "jetstream { store_dir: %q }\n", n.StoreDir())
	if len(routes) > 0 {
		fmt.Fprintf(&b, "cluster {\n  name: trial\n  listen: %q\n  routes: [\n", loopback(n.Route))
		for _, r := range routes {
			fmt.Fprintf(&b, "    %q\n", r)
		}
		b.WriteString("  ]\n}\n")
	}
	b.WriteString(extra)
	return b.String()
}

func (n *Node) configure(routes []string, extra string) error {
	if err := os.MkdirAll(n.Dir, 0o755); err != nil {
		return fmt.Errorf("make the directory of %s: %w", n.Name, err)
	}
	if err := os.WriteFile(n.ConfigFile(), []byte(configText(n, routes, extra)), 0o644); err != nil {
		return fmt.Errorf("write the configuration of %s: %w", n.Name, err)
	}
	return nil
}
