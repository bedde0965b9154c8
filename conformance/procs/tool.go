package procs

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// NatsServer finds the established server: NATS_SERVER, or nats-server.
func NatsServer() (string, error) { return tool("nats-server", "NATS_SERVER") }

// NatsCLI finds the stock command line: NATS_CLI, or nats.
func NatsCLI() (string, error) { return tool("nats", "NATS_CLI") }

// tool finds a program by the environment, on the path, or where go install puts it.
func tool(name, env string) (string, error) {
	if path := os.Getenv(env); path != "" {
		return exec.LookPath(path)
	}
	if path, err := exec.LookPath(name); err == nil {
		return path, nil
	}
	gopath := os.Getenv("GOPATH")
	if gopath == "" {
		home, err := os.UserHomeDir()
		if err != nil {
			return "", err
		}
		gopath = filepath.Join(home, "go")
	}
	path, err := exec.LookPath(filepath.Join(gopath, "bin", name))
	if err != nil {
		return "", fmt.Errorf("there is no %s; %s may name it", name, env)
	}
	return path, nil
}
