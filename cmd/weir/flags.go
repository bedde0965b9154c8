package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"strconv"

	"weir/internal/conf"
)

// serveFlags are the flags of serve: nats-server's names.
type serveFlags struct {
	config  string
	check   bool
	help    bool
	version bool
	signal  string
	// unsupported is a flag that was given and that Weir does not have.
	unsupported string
	// overrides are the flags that change the configuration.
	overrides []conf.Override

	set *flag.FlagSet
}

// unsupportedFlags are the flags of nats-server that Weir does not have yet.
var unsupportedFlags = []string{
	"ms", "https_port", "s", "syslog", "r", "remote_syslog", "tls", "tlscert",
	"tlskey", "tlsverify", "tlscacert", "profile", "help_tls",
}

func parseServeFlags(args []string) (*serveFlags, error) {
	f := &serveFlags{set: flag.NewFlagSet("weir", flag.ContinueOnError)}
	f.set.SetOutput(io.Discard)
	f.define()
	err := f.set.Parse(args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		f.help = true
		return f, nil
	case f.unsupported != "":
		return nil, fmt.Errorf("flag -%s is not supported yet", f.unsupported)
	case err != nil:
		return nil, fmt.Errorf("%w; see weir help", err)
	}
	switch f.set.Arg(0) {
	case "":
	case "help":
		f.help = true
	case "version":
		f.version = true
	default:
		return nil, fmt.Errorf("unexpected argument %q; see weir help", f.set.Arg(0))
	}
	return f, nil
}

func (f *serveFlags) define() {
	f.set.StringVar(&f.config, "c", "", "")
	f.set.StringVar(&f.config, "config", "", "")
	f.set.BoolVar(&f.check, "t", false, "")
	f.set.BoolVar(&f.version, "v", false, "")
	f.set.BoolVar(&f.version, "version", false, "")
	f.set.StringVar(&f.signal, "sl", "", "")
	f.set.StringVar(&f.signal, "signal", "", "")
	f.defineServer()
	f.defineLog()
	f.defineCluster()
	for _, name := range unsupportedFlags {
		f.set.BoolFunc(name, "", func(string) error {
			f.unsupported = name
			return errors.ErrUnsupported
		})
	}
}

func (f *serveFlags) defineServer() {
	f.text(func(c *conf.Config, v string) { c.Host = v }, "a", "addr", "net")
	f.port(func(c *conf.Config, n int) {
		if c.Port = n; n == 0 {
			c.Port = conf.DefaultPort
		}
	}, "p", "port")
	f.text(func(c *conf.Config, v string) { c.ServerName = v }, "n", "name", "server_name")
	f.text(func(c *conf.Config, v string) { c.PIDFile = v }, "P", "pid")
	f.port(func(c *conf.Config, n int) { c.HTTPPort = n }, "m", "http_port")
	f.text(func(c *conf.Config, v string) { c.ClientAdvertise = v }, "client_advertise")
	f.text(func(c *conf.Config, v string) { c.PortsFileDir = v }, "ports_file_dir")
	f.bool(func(c *conf.Config, v bool) { c.JetStream.Enabled = v }, "js", "jetstream")
	f.text(func(c *conf.Config, v string) { c.JetStream.StoreDir = v }, "sd", "store_dir")
	f.text(func(c *conf.Config, v string) { c.Authorization.Username = v }, "user")
	f.text(func(c *conf.Config, v string) { c.Authorization.Password = v }, "pass")
	f.text(func(c *conf.Config, v string) { c.Authorization.Token = v }, "auth")
}

func (f *serveFlags) defineLog() {
	f.text(func(c *conf.Config, v string) { c.Log.File = v }, "l", "log")
	f.count(func(c *conf.Config, n int) { c.Log.SizeLimit = int64(n) }, "log_size_limit")
	f.count(func(c *conf.Config, n int) { c.Log.MaxTracedLen = n }, "max_traced_msg_len")
	f.bool(func(c *conf.Config, v bool) { c.Log.Time = v }, "T", "logtime")
	f.bool(func(c *conf.Config, v bool) { c.Log.UTC = v }, "logtime_utc")
	f.bool(func(c *conf.Config, v bool) { c.Log.Debug = v }, "D", "debug")
	f.bool(func(c *conf.Config, v bool) { c.Log.Trace = v }, "V", "trace")
	f.bool(func(c *conf.Config, v bool) { c.Log.TraceVerbose = v }, "VV")
	f.bool(func(c *conf.Config, v bool) { c.Log.Debug, c.Log.Trace = v, v }, "DV")
	f.bool(func(c *conf.Config, v bool) { c.Log.Debug, c.Log.TraceVerbose = v, v }, "DVV")
}

func (f *serveFlags) defineCluster() {
	for _, name := range []string{"cluster", "cluster_listen"} {
		f.set.Func(name, "", func(v string) error {
			listen, err := conf.ParseClusterListen(v)
			if err == nil {
				f.overrides = append(f.overrides, listen)
			}
			return err
		})
	}
	f.set.Func("routes", "", func(v string) error {
		routes, err := conf.ParseRoutes(v)
		if err == nil {
			f.overrides = append(f.overrides, func(c *conf.Config) { c.Cluster.Routes = routes })
		}
		return err
	})
	f.text(func(c *conf.Config, v string) { c.Cluster.Name = v }, "cluster_name")
	f.text(func(c *conf.Config, v string) { c.Cluster.Advertise = v }, "cluster_advertise")
	f.bool(func(c *conf.Config, v bool) { c.NoAdvertise = v }, "no_advertise")
	f.count(func(c *conf.Config, n int) { c.Cluster.ConnectRetries = n }, "connect_retries")
}

// text, bool, count and port define one flag under several names.

func (f *serveFlags) text(apply func(*conf.Config, string), names ...string) {
	for _, name := range names {
		f.set.Func(name, "", func(v string) error {
			f.overrides = append(f.overrides, func(c *conf.Config) { apply(c, v) })
			return nil
		})
	}
}

func (f *serveFlags) bool(apply func(*conf.Config, bool), names ...string) {
	for _, name := range names {
		f.set.BoolFunc(name, "", func(text string) error {
			v, err := strconv.ParseBool(text)
			if err != nil {
				return fmt.Errorf("must be true or false")
			}
			f.overrides = append(f.overrides, func(c *conf.Config) { apply(c, v) })
			return nil
		})
	}
}

func (f *serveFlags) count(apply func(*conf.Config, int), names ...string) {
	f.integer(0, 1<<62, apply, names)
}

func (f *serveFlags) port(apply func(*conf.Config, int), names ...string) {
	f.integer(-1, 65535, apply, names)
}

func (f *serveFlags) integer(low, high int, apply func(*conf.Config, int), names []string) {
	for _, name := range names {
		f.set.Func(name, "", func(text string) error {
			n, err := strconv.Atoi(text)
			if err != nil || n < low || n > high {
				return fmt.Errorf("must be an integer from %d to %d", low, high)
			}
			f.overrides = append(f.overrides, func(c *conf.Config) { apply(c, n) })
			return nil
		})
	}
}
