package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"syscall"

	"weir/internal/conf"
	"weir/internal/logging"
	"weir/internal/procfile"
)

// serve runs one server until a signal ends it.
func (env *environment) serve(args []string) error {
	f, err := parseServeFlags(args)
	if err != nil {
		return err
	}
	switch {
	case f.help:
		fmt.Fprint(env.stdout, usage)
		return nil
	case f.version:
		env.printVersion()
		return nil
	case f.signal != "":
		return sendSignal(f.signal)
	case f.check && f.config == "":
		return errors.New("-t needs a configuration file (-c)")
	}
	cfg, err := f.load()
	if err != nil {
		return err
	}
	if f.check {
		return env.reportValid(cfg)
	}
	log, err := logging.New(logging.Options{
		Debug: cfg.Log.Debug, Trace: cfg.Log.Trace || cfg.Log.TraceVerbose || cfg.Log.TraceHeaders,
		Time: cfg.Log.Time, UTC: cfg.Log.UTC,
		File: cfg.Log.File, SizeLimit: cfg.Log.SizeLimit, MaxFiles: cfg.Log.MaxFiles, Writer: env.stderr,
	})
	if err != nil {
		return err
	}
	defer log.Close()
	err = env.runServer(cfg, log)
	if err != nil && cfg.Log.File != "" {
		log.Fatalf("%v", err)
	}
	return err
}

func (f *serveFlags) load() (*conf.Config, error) {
	if f.config == "" {
		return conf.New(f.overrides...)
	}
	return conf.Load(f.config, f.overrides...)
}

func (env *environment) reportValid(cfg *conf.Config) error {
	for _, w := range cfg.Warnings {
		fmt.Fprintf(env.stderr, "weir: warning: %s\n", w)
	}
	_, err := fmt.Fprintf(env.stderr, "weir: configuration file %s is valid (%s)\n", cfg.File, cfg.Digest)
	return err
}

// runServer starts the server with its pid and ports files and stays until it
// has shut down.
func (env *environment) runServer(cfg *conf.Config, log *logging.Logger) error {
	log.Noticef("Starting Weir v%s", version)
	if cfg.File != "" {
		log.Noticef("Using configuration file: %s (%s)", cfg.File, cfg.Digest)
	}
	if flags := cfg.DescribeFlags(); flags != "" {
		log.Noticef("Feature flags: %s", flags)
	}
	for _, w := range cfg.Warnings {
		log.Warnf("%s", w)
	}
	srv, err := env.newServer(cfg, log)
	if err != nil {
		return err
	}
	if err := srv.Start(); err != nil {
		srv.Shutdown()
		return err
	}
	files, err := writeProcFiles(cfg, srv)
	if err != nil {
		srv.Shutdown()
		return err
	}
	env.serveSignals(srv, log)
	return files.Close()
}

// serveSignals acts on signals until one has shut the server down.
func (env *environment) serveSignals(srv instance, log *logging.Logger) {
	var lameDuckDone chan struct{}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	for {
		select {
		case <-lameDuckDone:
			srv.Shutdown()
			return
		case sig := <-env.signals:
			switch sig {
			case syscall.SIGUSR1:
				reopen(log)
			case syscall.SIGHUP:
				log.Errorf("Failed to reload: changing the configuration of a running server is not supported yet")
			case syscall.SIGUSR2:
				if lameDuckDone == nil {
					lameDuckDone = make(chan struct{})
					go func() {
						srv.LameDuck(ctx)
						close(lameDuckDone)
					}()
				}
			default:
				if sig == syscall.SIGTERM && lameDuckDone != nil {
					continue // it ends by itself
				}
				log.Noticef("Shutting down on signal: %v", sig)
				cancel()
				if lameDuckDone != nil {
					<-lameDuckDone
				}
				srv.Shutdown()
				return
			}
		}
	}
}

func reopen(log *logging.Logger) {
	if err := log.Reopen(); err != nil {
		log.Errorf("Reopening the log: %v", err)
		return
	}
	log.Noticef("File log re-opened")
}

type closeFunc func() error

func (f closeFunc) Close() error { return f() }

// writeProcFiles writes the files that the configuration wants. Closing removes
// the ports file.
func writeProcFiles(cfg *conf.Config, srv instance) (io.Closer, error) {
	nothing := closeFunc(func() error { return nil })
	if cfg.PIDFile != "" {
		if err := procfile.WritePID(cfg.PIDFile); err != nil {
			return nothing, err
		}
	}
	if cfg.PortsFileDir == "" {
		return nothing, nil
	}
	client, monitor, cluster := srv.Addrs()
	path, err := procfile.WritePorts(cfg.PortsFileDir, procfile.Ports{
		Nats:       listenerURLs("nats", client),
		Monitoring: listenerURLs("http", monitor),
		Cluster:    listenerURLs("nats", cluster),
	})
	if err != nil {
		return nothing, err
	}
	return closeFunc(func() error { return procfile.RemovePorts(path) }), nil
}

func listenerURLs(scheme string, addr net.Addr) []string {
	if addr == nil {
		return nil
	}
	return procfile.URLs(scheme, addr)
}
