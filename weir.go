// Package weir embeds a Weir server in a Go program: a messaging server that
// speaks the NATS protocol, with clustered JetStream.
//
//	srv, err := weir.New(weir.Options{Config: "port: -1, jetstream { store_dir: data }"})
//	if err != nil { … }
//	if err := srv.Start(); err != nil { … }
//	defer srv.Shutdown()
//	nc, err := nats.Connect("", nats.InProcessServer(srv))
package weir

import (
	"context"
	"net"

	"weir/internal/base"
	"weir/internal/conf"
	"weir/internal/server"
)

// Logger takes the server's log lines.
type Logger interface {
	Noticef(format string, args ...any)
	Warnf(format string, args ...any)
	Errorf(format string, args ...any)
	Debugf(format string, args ...any)
	Tracef(format string, args ...any)
}

// Options say what server to make. Without any, it listens on port 4222 and has
// no JetStream.
type Options struct {
	// ConfigFile is the path of a configuration file in nats-server's syntax.
	ConfigFile string
	// Config is the text of one, used when ConfigFile is empty.
	Config string
	// Logger takes log lines; nil drops them.
	Logger Logger
}

// Server is one server within this process.
type Server struct{ inner *server.Server }

// New reads the configuration and builds a server that does not run yet. What works
// but should be changed is logged as warnings. The error names every fault of the
// configuration with its line.
func New(opts Options) (*Server, error) {
	cfg, err := opts.load()
	if err != nil {
		return nil, err
	}
	var log base.Logger = base.NopLogger{}
	if opts.Logger != nil {
		log = opts.Logger
	}
	for _, w := range cfg.Warnings {
		log.Warnf("%s", w)
	}
	inner, err := server.New(cfg, log)
	if err != nil {
		return nil, err
	}
	return &Server{inner}, nil
}

func (o *Options) load() (*conf.Config, error) {
	if o.ConfigFile != "" {
		return conf.Load(o.ConfigFile)
	}
	return conf.Parse(o.Config, "Options.Config")
}

// Start opens the listeners and begins to serve. After an error, Shutdown ends
// what was started.
func (s *Server) Start() error { return s.inner.Start() }

// Ready waits until the server can do all that it is configured for: in a
// cluster with JetStream, until the meta group has a leader.
func (s *Server) Ready(ctx context.Context) error { return s.inner.Ready(ctx) }

// Shutdown ends the server and returns when everything is down.
func (s *Server) Shutdown() { s.inner.Shutdown() }

// ClientURL is where clients connect, such as nats://127.0.0.1:4222.
func (s *Server) ClientURL() string { return s.inner.ClientURL() }

// InProcessConn is a client connection that does not leave the process; with it
// a Server is what nats.InProcessServer wants.
func (s *Server) InProcessConn() (net.Conn, error) { return s.inner.InProcessConn() }
