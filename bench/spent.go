package main

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"time"

	"weir/conformance/procs"
)

// clockTicks is how many ticks of /proc/<pid>/stat a second has.
const clockTicks = 100

// figure is what a row measures. What a message costs the servers depends less on
// what else the machine does than how many there are per second.
type figure struct {
	rate float64 // messages per second
	cpu  float64 // CPU time of all servers per message, µs
}

// meter measures one row from its beginning on.
type meter struct {
	cluster *procs.Cluster
	ticks   int64
	begun   time.Time
}

func (w *work) begin() (*meter, error) {
	ticks, err := ticksOf(w.cluster)
	return &meter{w.cluster, ticks, time.Now()}, err
}

// done is what n messages took.
func (m *meter) done(n int) (figure, error) {
	length := time.Since(m.begun)
	ticks, err := ticksOf(m.cluster)
	return figure{float64(n) / length.Seconds(), float64(ticks-m.ticks) * (1e6 / clockTicks) / float64(n)}, err
}

// ticksOf is the CPU time that the processes of a cluster have used.
func ticksOf(c *procs.Cluster) (sum int64, err error) {
	for _, n := range c.Nodes {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", n.PID()))
		if err != nil {
			return 0, fmt.Errorf("CPU time of %s: %w", n.Name, err)
		}
		// Behind the command in parentheses: state is field 3, utime 14, stime 15.
		fields := bytes.Fields(text[bytes.LastIndexByte(text, ')')+1:])
		for _, f := range fields[11:13] {
			v, err := strconv.ParseInt(string(f), 10, 64)
			if err != nil {
				return 0, fmt.Errorf("CPU time of %s: %w", n.Name, err)
			}
			sum += v
		}
	}
	return sum, nil
}
