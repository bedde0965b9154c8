package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/url"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"weir/internal/base"
	"weir/internal/conf"
	"weir/internal/logging"
)

const (
	devHost    = "127.0.0.1"
	devCluster = "weir-dev"
	// maxDevNodes keeps the ports of clients and of monitoring apart.
	maxDevNodes = 100
	// devReadyTimeout is how long the nodes may take to find each other and elect
	// leaders, with what they have to recover from the last run.
	devReadyTimeout = time.Minute
)

type devFlags struct {
	nodes          int
	data           string
	memory         bool
	port, http     int
	verbose, debug bool
}

func parseDevFlags(args []string) (*devFlags, error) {
	f := &devFlags{}
	set := flag.NewFlagSet("weir dev", flag.ContinueOnError)
	set.SetOutput(io.Discard)
	set.IntVar(&f.nodes, "nodes", 3, "")
	set.StringVar(&f.data, "data", "weir-data", "")
	set.BoolVar(&f.memory, "memory", false, "")
	set.IntVar(&f.port, "port", conf.DefaultPort, "")
	set.IntVar(&f.http, "http", 8222, "")
	set.BoolVar(&f.verbose, "verbose", false, "")
	set.BoolVar(&f.debug, "D", false, "")
	set.BoolVar(&f.debug, "debug", false, "")
	if err := set.Parse(args); err != nil {
		return nil, err
	}
	switch {
	case set.NArg() > 0:
		return nil, fmt.Errorf("unexpected argument %q; see weir dev -h", set.Arg(0))
	case f.nodes < 1 || f.nodes > maxDevNodes:
		return nil, fmt.Errorf("--nodes must be from 1 to %d", maxDevNodes)
	case f.port < 1 || f.port+f.nodes > 65536 || f.http < 1 || f.http+f.nodes > 65536:
		return nil, errors.New("--port and --http must leave room for a port per node")
	}
	return f, nil
}

// dev runs a cluster in this process until a signal ends it.
func (env *environment) dev(args []string) error {
	f, err := parseDevFlags(args)
	if errors.Is(err, flag.ErrHelp) {
		fmt.Fprint(env.stdout, devUsage)
		return nil
	}
	if err != nil {
		return err
	}
	configs, err := f.configs()
	if err != nil {
		return err
	}
	log, err := logging.New(logging.Options{Debug: f.debug, Time: true, Writer: env.stderr})
	if err != nil {
		return err
	}
	nodes, err := env.startNodes(f, configs, log)
	defer shutdownAll(nodes)
	if err != nil {
		return err
	}
	if stopped, err := env.waitReady(nodes); stopped || err != nil {
		return err
	}
	f.printBanner(env.stdout, configs)
	for sig := range env.signals {
		if sig == syscall.SIGINT || sig == syscall.SIGTERM {
			break
		}
	}
	fmt.Fprintln(env.stdout, "\nStopping.")
	return nil
}

// configs are the configurations of all nodes.
func (f *devFlags) configs() ([]*conf.Config, error) {
	var routes []*url.URL
	if f.nodes > 1 {
		var err error
		if routes, err = freeRoutes(f.nodes); err != nil {
			return nil, err
		}
	}
	data, err := filepath.Abs(f.data)
	if err != nil {
		return nil, err
	}
	var all []*conf.Config
	for i := range f.nodes {
		name := "n" + strconv.Itoa(i+1)
		cfg, err := conf.New(func(c *conf.Config) {
			c.ServerName = name
			c.Host, c.Port = devHost, f.port+i
			c.HTTPHost, c.HTTPPort = devHost, f.http+i
			c.JetStream.Enabled = true
			c.JetStream.StoreDir = filepath.Join(data, name)
			c.JetStream.InMemory = f.memory
			c.Log.Debug = f.debug
			if len(routes) > 0 {
				c.Cluster.Name, c.Cluster.Host = devCluster, devHost
				c.Cluster.Port, _ = strconv.Atoi(routes[i].Port())
				c.Cluster.Routes = routes
			}
		})
		if err != nil {
			return nil, err
		}
		all = append(all, cfg)
	}
	return all, nil
}

// freeRoutes finds n ports for the links between the nodes. They are free now;
// if another program is faster, starting fails with a clear error.
func freeRoutes(n int) ([]*url.URL, error) {
	var routes []*url.URL
	for range n {
		l, err := net.Listen("tcp", net.JoinHostPort(devHost, "0"))
		if err != nil {
			return nil, fmt.Errorf("looking for a free port: %w", err)
		}
		defer l.Close() // only then, so that each port is another
		routes = append(routes, &url.URL{Scheme: "nats", Host: l.Addr().String()})
	}
	return routes, nil
}

// startNodes gives the nodes that it started, also upon an error.
func (env *environment) startNodes(f *devFlags, configs []*conf.Config, log base.Logger) ([]instance, error) {
	var started []instance
	for _, cfg := range configs {
		srv, err := env.newServer(cfg, &nodeLogger{log, cfg.ServerName, f.verbose || f.debug})
		if err != nil {
			return started, fmt.Errorf("node %s: %w", cfg.ServerName, err)
		}
		started = append(started, srv)
		if err := srv.Start(); err != nil {
			return started, fmt.Errorf("node %s: %w", cfg.ServerName, err)
		}
	}
	return started, nil
}

// waitReady waits for all nodes. A signal stops it.
func (env *environment) waitReady(nodes []instance) (stopped bool, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), devReadyTimeout)
	defer cancel()
	done := make(chan error, 1)
	go func() {
		for _, n := range nodes {
			if err := n.Ready(ctx); err != nil {
				done <- fmt.Errorf("waiting for the cluster: %w", err)
				return
			}
		}
		done <- nil
	}()
	for {
		select {
		case err := <-done:
			return false, err
		case sig := <-env.signals:
			if sig == syscall.SIGINT || sig == syscall.SIGTERM {
				cancel()
				<-done
				return true, nil
			}
		}
	}
}

// shutdownAll stops nodes at once: one after the other, the last would have to
// elect leaders without the rest.
func shutdownAll(nodes []instance) {
	done := make(chan struct{})
	for _, n := range nodes {
		go func() {
			n.Shutdown()
			done <- struct{}{}
		}()
	}
	for range nodes {
		<-done
	}
}

func (f *devFlags) printBanner(w io.Writer, configs []*conf.Config) {
	fmt.Fprintf(w, "Weir is running.\n\n")
	for _, c := range configs {
		fmt.Fprintf(w, "  %s   nats://%s:%d   monitoring http://%s:%d\n", c.ServerName, c.Host, c.Port, c.HTTPHost, c.HTTPPort)
	}
	if f.memory {
		fmt.Fprintf(w, "\nData is in memory and is gone when this stops.\n")
	} else {
		fmt.Fprintf(w, "\nData is in %s and is there again at the next start.\n", f.data)
	}
	server := ""
	if f.port != conf.DefaultPort {
		server = fmt.Sprintf(" -s nats://%s:%d", devHost, f.port)
	}
	fmt.Fprintf(w, `
Try it with the nats command line (go install github.com/nats-io/natscli/nats@v0.5.1):

  nats%[1]s stream add ORDERS --subjects "orders.>" --replicas %[2]d --defaults
  nats%[1]s pub orders.new "hello" --count 10
  nats%[1]s consumer add ORDERS worker --pull --defaults
  nats%[1]s consumer next ORDERS worker --count 10
  nats%[1]s stream info ORDERS

Ctrl-C stops it.
`, server, min(3, f.nodes))
}

// nodeLogger puts the node's name on lines of a shared log.
type nodeLogger struct {
	base.Logger
	name    string
	verbose bool
}

func (l *nodeLogger) Noticef(format string, args ...any) {
	if l.verbose {
		l.Logger.Noticef("%s: "+format, append([]any{l.name}, args...)...)
	}
}

func (l *nodeLogger) Warnf(format string, args ...any) {
	l.Logger.Warnf("%s: "+format, append([]any{l.name}, args...)...)
}

func (l *nodeLogger) Errorf(format string, args ...any) {
	l.Logger.Errorf("%s: "+format, append([]any{l.name}, args...)...)
}

func (l *nodeLogger) Debugf(format string, args ...any) {
	l.Logger.Debugf("%s: "+format, append([]any{l.name}, args...)...)
}

func (l *nodeLogger) Tracef(format string, args ...any) {
	l.Logger.Tracef("%s: "+format, append([]any{l.name}, args...)...)
}
