package main

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"time"
)

// rest is what the servers use while nothing happens.
type rest struct {
	cpu    float64 // percent of a core, all servers together
	memory int64   // resident bytes, all servers together
}

const (
	settleTime = 40 * time.Second
	settleStep = 2 * time.Second
	quietTime  = 5 * time.Second
	quietStep  = 250 * time.Millisecond
	settledAt  = 5.0 // percent of a core
)

// atRest waits until the servers have done what they still had to do, and for no
// longer than settleTime, and measures them.
func (w *scaleWork) atRest() (rest, error) {
	if err := w.settle(settleTime, settleStep); err != nil {
		return rest{}, err
	}
	cpu, err := w.cpu(w.idle)
	if err != nil {
		return rest{}, err
	}
	memory := int64(0)
	for _, n := range w.cluster.Nodes {
		m, err := residentOf(n.PID())
		if err != nil {
			return rest{}, err
		}
		memory += m
	}
	return rest{cpu, memory}, nil
}

// quiet waits until what the servers did last is over, as acks still on their way
// would count for what is measured next.
func (w *scaleWork) quiet() error { return w.settle(quietTime, quietStep) }

// settle waits until the servers are idle over a step, within a time. Those that a
// large number of groups keeps busy never are.
func (w *scaleWork) settle(within, step time.Duration) error {
	for until := time.Now().Add(within); time.Now().Before(until); {
		cpu, err := w.cpu(step)
		if err != nil {
			return err
		}
		if cpu < settledAt {
			break
		}
	}
	return nil
}

// cpu is what all servers use over a time, in percent of a core.
func (w *scaleWork) cpu(over time.Duration) (float64, error) {
	before, err := w.ticks()
	if err != nil {
		return 0, err
	}
	begun := time.Now()
	select {
	case <-time.After(over):
	case <-w.ctx.Done():
		return 0, w.ctx.Err()
	}
	after, err := w.ticks()
	return float64(after-before) / clockTicks / time.Since(begun).Seconds() * 100, err
}

// spending begins to count the servers' CPU time; what it returns is what they
// spent since, in microseconds per consumer.
func (w *scaleWork) spending() (spent func() string) {
	before, _ := w.ticks() // 0 is as good as what can not be read
	return func() string {
		after, err := w.ticks()
		if err != nil {
			return ""
		}
		return strconv.FormatInt((after-before)*(1e6/clockTicks)/int64(w.n), 10)
	}
}

func (w *scaleWork) ticks() (int64, error) { return ticksOf(w.cluster) }

// residentOf is the memory of a process in bytes.
func residentOf(pid int) (int64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
	if err != nil {
		return 0, fmt.Errorf("memory of process %d: %w", pid, err)
	}
	fields := bytes.Fields(text)
	if len(fields) < 2 {
		return 0, fmt.Errorf("memory of process %d: %q", pid, text)
	}
	pages, err := strconv.ParseInt(string(fields[1]), 10, 64)
	return pages * int64(os.Getpagesize()), err
}
