// Command weir is the Weir messaging server.
//
//	weir serve -c FILE   runs one server; so does `weir -c FILE`
//	weir dev             runs a cluster of three on this machine
//	weir scrub           checks what a stopped server has stored
//
// Flags are nats-server's; see `weir help`.
package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"syscall"
	_ "time/tzdata" // message schedules name time zones, which not every machine has

	"weir/internal/base"
	"weir/internal/conf"
)

// version is Weir's own. Clients see the level of the protocol instead, which is
// a version of nats-server.
const version = "0.1.0"

// instance is one running server.
type instance interface {
	Start() error
	// Ready waits until the server can do all of its work.
	Ready(ctx context.Context) error
	// LameDuck lets the clients go; it returns when they are gone.
	LameDuck(ctx context.Context)
	// Shutdown returns when everything is stopped and stored.
	Shutdown()
	ClientURL() string
	// Addrs are the listeners' addresses; nil for one that is off.
	Addrs() (client, monitor, cluster net.Addr)
}

// environment is what a subcommand has of the process.
type environment struct {
	stdout, stderr io.Writer
	signals        <-chan os.Signal
	newServer      func(*conf.Config, base.Logger) (instance, error)
}

func main() {
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGUSR1, syscall.SIGUSR2, syscall.SIGHUP)
	env := &environment{stdout: os.Stdout, stderr: os.Stderr, signals: signals, newServer: newServer}
	os.Exit(env.run(os.Args[1:]))
}

// run runs the subcommand that args name and gives the exit status.
func (env *environment) run(args []string) int {
	command := "serve"
	if len(args) > 0 && args[0] != "" && args[0][0] != '-' {
		command, args = args[0], args[1:]
	}
	var err error
	switch command {
	case "serve":
		err = env.serve(args)
	case "dev":
		err = env.dev(args)
	case "scrub":
		err = env.scrub(args)
	case "version":
		env.printVersion()
	case "help":
		fmt.Fprint(env.stdout, usage)
	default:
		err = fmt.Errorf("unknown command %q; see weir help", command)
	}
	if err != nil {
		env.complain(err)
		return 1
	}
	return 0
}

func (env *environment) complain(err error) {
	fmt.Fprintf(env.stderr, "weir: %v\n", err)
}

func (env *environment) printVersion() {
	fmt.Fprintf(env.stdout, "weir: v%s\n", version)
}
