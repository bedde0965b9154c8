package procs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"
)

// Node is one server: its files, its ports and its process, if that runs.
type Node struct {
	Name                   string
	Client, Monitor, Route int // ports on 127.0.0.1
	Dir                    string

	bin    string
	cmd    *exec.Cmd     // nil before the first start
	exited chan struct{} // closed when cmd has ended
}

// URL is the client address.
func (n *Node) URL() string { return "nats://" + loopback(n.Client) }

// ConfigFile is the path of the configuration.
func (n *Node) ConfigFile() string { return filepath.Join(n.Dir, "server.conf") }

// StoreDir is the directory that JetStream stores in.
func (n *Node) StoreDir() string { return filepath.Join(n.Dir, "store") }

// LogFile has what all processes of this node wrote.
func (n *Node) LogFile() string { return filepath.Join(n.Dir, "server.log") }

// Start starts the process. That it listens is for Ready to say.
func (n *Node) Start() error {
	if n.Running() {
		return fmt.Errorf("start %s: it runs", n.Name)
	}
	log, err := os.OpenFile(n.LogFile(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return fmt.Errorf("start %s: %w", n.Name, err)
	}
	defer log.Close() // the process has its own descriptor
	cmd := exec.Command(n.bin, "-c", n.ConfigFile())
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = childAttributes()
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start %s: %w", n.Name, err)
	}
	exited := make(chan struct{})
	go func() {
		_ = cmd.Wait() // ProcessState has it
		close(exited)
	}()
	n.cmd, n.exited = cmd, exited
	return nil
}

// Running says whether there is a process.
func (n *Node) Running() bool {
	if n.cmd == nil {
		return false
	}
	select {
	case <-n.exited:
		return false
	default:
		return true
	}
}

// PID is the process's number; 0 when there is none.
func (n *Node) PID() int {
	if !n.Running() {
		return 0
	}
	return n.cmd.Process.Pid
}

// Kill ends the process with SIGKILL and waits until it is gone.
func (n *Node) Kill() {
	if n.cmd == nil {
		return
	}
	n.signalKill()
	<-n.exited
}

// Pause stops the process with SIGSTOP; its connections stay open.
func (n *Node) Pause() { n.send(syscall.SIGSTOP) }

// Resume lets a paused process go on.
func (n *Node) Resume() { n.send(syscall.SIGCONT) }

func (n *Node) send(sig os.Signal) {
	if n.Running() {
		_ = n.cmd.Process.Signal(sig) // an error means that it has ended
	}
}

func (n *Node) signalKill() {
	if n.Running() {
		_ = n.cmd.Process.Kill() // an error means that it has ended
	}
}

// Stop asks the process to end and waits. One that has not ended when ctx is over
// is killed and reported.
func (n *Node) Stop(ctx context.Context) error {
	if !n.Running() {
		return nil
	}
	_ = n.cmd.Process.Signal(syscall.SIGTERM) // an error means that it has ended
	select {
	case <-n.exited:
		return nil
	case <-ctx.Done():
		n.Kill()
		return fmt.Errorf("stop %s: still there after SIGTERM: %w", n.Name, ctx.Err())
	}
}

// Ready waits until the node says that it is healthy. A process that ended is an
// error with the last lines of its log.
func (n *Node) Ready(ctx context.Context) error {
	wait, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	err := Until(wait, n.Name+" is healthy", func() error {
		if !n.Running() {
			err := fmt.Errorf("%s has ended: %s", n.Name, n.LogTail(2000))
			cancel(err)
			return err
		}
		var health struct{ Status, Error string }
		if err := n.Get(ctx, "/healthz", &health); err != nil {
			return err
		}
		if health.Status != "ok" {
			return errors.New(health.Error)
		}
		return nil
	})
	if err != nil && n.Running() {
		return fmt.Errorf("%w; its log ends: %s", err, n.LogTail(2000))
	}
	return err
}

// getTime bounds one request to the monitoring port.
const getTime = 10 * time.Second

// Get reads a JSON document of the monitoring port, whatever its status.
func (n *Node) Get(ctx context.Context, path string, into any) error {
	ctx, cancel := context.WithTimeout(ctx, getTime)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+loopback(n.Monitor)+path, nil)
	if err != nil {
		return err
	}
	req.Close = true // servers come and go
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		return fmt.Errorf("read %s of %s: %w", path, n.Name, err)
	}
	if err := json.Unmarshal(text, into); err != nil {
		return fmt.Errorf("read %s of %s: %w", path, n.Name, err)
	}
	return nil
}

// Log is what all processes of this node wrote.
func (n *Node) Log() string {
	text, err := os.ReadFile(n.LogFile())
	if err != nil {
		return err.Error()
	}
	return string(text)
}

// LogTail is the last bytes of Log.
func (n *Node) LogTail(bytes int) string {
	text := n.Log()
	return text[max(0, len(text)-bytes):]
}
