package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

var signalCommands = map[string]syscall.Signal{
	"stop":   syscall.SIGKILL,
	"quit":   syscall.SIGINT,
	"term":   syscall.SIGTERM,
	"reopen": syscall.SIGUSR1,
	"reload": syscall.SIGHUP,
	"ldm":    syscall.SIGUSR2,
}

// sendSignal acts on `command[=pid]`, where pid is a number, a pid file, or the
// start of a number followed by '*'. Without a pid there must be exactly one
// other process of this program.
func sendSignal(text string) error {
	command, target, _ := strings.Cut(text, "=")
	sig, ok := signalCommands[command]
	if !ok {
		return fmt.Errorf("unknown signal command %q; known are stop, quit, term, reopen, reload, ldm", command)
	}
	pids, err := findProcesses(target)
	if err != nil {
		return err
	}
	for _, pid := range pids {
		if err := syscall.Kill(pid, sig); err != nil {
			return fmt.Errorf("signalling process %d: %w", pid, err)
		}
	}
	return nil
}

func findProcesses(target string) ([]int, error) {
	if pid, err := strconv.Atoi(target); err == nil && pid > 0 {
		return []int{pid}, nil
	}
	if prefix, ok := strings.CutSuffix(target, "*"); ok {
		pids, err := processesOfThisProgram(prefix)
		if err == nil && len(pids) == 0 {
			err = fmt.Errorf("no running server has a process id like %s", target)
		}
		return pids, err
	}
	if target != "" {
		text, err := os.ReadFile(target)
		if err != nil {
			return nil, fmt.Errorf("reading the pid file: %w", err)
		}
		pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
		if err != nil || pid <= 0 {
			return nil, fmt.Errorf("the pid file %s holds no process id", target)
		}
		return []int{pid}, nil
	}
	pids, err := processesOfThisProgram("")
	switch {
	case err != nil:
		return nil, err
	case len(pids) == 0:
		return nil, fmt.Errorf("no server is running")
	case len(pids) > 1:
		return nil, fmt.Errorf("several servers are running, choose a process id: %v", pids)
	}
	return pids, nil
}

// processesOfThisProgram lists other processes with this executable's name whose
// id starts with prefix. It needs Linux's /proc.
func processesOfThisProgram(prefix string) ([]int, error) {
	commands, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil || len(commands) == 0 {
		return nil, fmt.Errorf("running servers cannot be found on this system; give a process id")
	}
	var pids []int
	for _, path := range commands {
		number := filepath.Base(filepath.Dir(path))
		pid, err := strconv.Atoi(number)
		if err != nil || pid == os.Getpid() || !strings.HasPrefix(number, prefix) {
			continue
		}
		text, err := os.ReadFile(path)
		if err != nil {
			continue // it has ended
		}
		name, _, _ := strings.Cut(string(text), "\x00")
		if filepath.Base(name) == filepath.Base(os.Args[0]) {
			pids = append(pids, pid)
		}
	}
	return pids, nil
}
