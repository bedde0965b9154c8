package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

const megabyte = 1 << 20

// memory notes the largest resident memory of a node, now and at its peak.
func (t *storeTrial) memory(what string) error {
	var now, peak int64
	for _, n := range t.c.Nodes {
		status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", n.PID()))
		if err != nil {
			return err
		}
		now, peak = max(now, statusField(status, "VmRSS:")), max(peak, statusField(status, "VmHWM:"))
	}
	t.note(what+": resident memory, peak", "%d MiB, %d MiB", now/megabyte, peak/megabyte)
	return nil
}

// statusField is a field of /proc/PID/status, in bytes.
func statusField(status []byte, name string) int64 {
	for line := range strings.Lines(string(status)) {
		if rest, ok := strings.CutPrefix(line, name); ok {
			kib, _ := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
			return kib << 10
		}
	}
	return 0
}

// ticksPerSecond is the unit of the times in /proc/PID/stat.
const ticksPerSecond = 100

// cpu is the processor time that all nodes have used.
func (t *storeTrial) cpu() (total time.Duration, err error) {
	for _, n := range t.c.Nodes {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", n.PID()))
		if err != nil {
			return 0, err
		}
		fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
		for _, field := range fields[11:13] { // user and system
			ticks, err := strconv.ParseInt(field, 10, 64)
			if err != nil {
				return 0, err
			}
			total += time.Duration(ticks) * time.Second / ticksPerSecond
		}
	}
	return total, nil
}

// disk is what the nodes' stores take, in bytes, divided by the nodes.
func (t *storeTrial) disk() (total int64, err error) {
	for _, n := range t.c.Nodes {
		err := filepath.WalkDir(n.StoreDir(), func(name string, e fs.DirEntry, err error) error {
			if err != nil || e.IsDir() {
				return ignoreMissing(err)
			}
			info, err := os.Lstat(name)
			if err != nil {
				return ignoreMissing(err)
			}
			if st, ok := info.Sys().(*syscall.Stat_t); ok {
				total += st.Blocks * 512
			}
			return nil
		})
		if err != nil {
			return 0, err
		}
	}
	return total / int64(len(t.c.Nodes)), nil
}

// ignoreMissing passes over files that go while they are looked at.
func ignoreMissing(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// diskSettles bounds the wait for the disk to settle, diskQuiet is for how long it
// must not change by more than a hundredth.
const (
	diskSettles = 3 * time.Minute
	diskQuiet   = 45 * time.Second
)

// settled waits until the disk usage does not change, and notes it beside the
// bytes of the stream's messages: of subjects and payloads, which take perMessage, and
// as the server counts them.
func (t *storeTrial) settled(ctx context.Context, what string, perMessage int) error {
	deadline := time.Now().Add(diskSettles)
	last, err := t.disk()
	if err != nil {
		return err
	}
	for since := time.Now(); time.Since(since) < diskQuiet && time.Now().Before(deadline); {
		if err := pause(ctx, time.Second); err != nil {
			return err
		}
		now, err := t.disk()
		if err != nil {
			return err
		}
		if now < last-last/100 || now > last+last/100 {
			last, since = now, time.Now()
		}
	}
	state, err := t.state(ctx)
	if err != nil {
		return err
	}
	t.note(what+": disk, of subjects and payloads, of the bytes in stream info", "%d MiB, %.2f, %.2f",
		last/megabyte, float64(last)/float64(state.Msgs*uint64(perMessage)), float64(last)/float64(state.Bytes))
	return nil
}

func (t *storeTrial) state(ctx context.Context) (jetstream.StreamState, error) {
	nc, js, err := t.connect()
	if err != nil {
		return jetstream.StreamState{}, err
	}
	defer nc.Close()
	s, err := js.Stream(ctx, streamName)
	if err != nil {
		return jetstream.StreamState{}, err
	}
	return s.CachedInfo().State, nil
}

// idleTime is how long the nodes are watched while nothing happens.
const idleTime = 10 * time.Second

// idle notes what the nodes use while nothing happens, after they have been left alone
// for a time.
func (t *storeTrial) idle(ctx context.Context, row string, after time.Duration) error {
	if err := pause(ctx, after); err != nil {
		return err
	}
	before, err := t.cpu()
	if err != nil {
		return err
	}
	if err := pause(ctx, idleTime); err != nil {
		return err
	}
	now, err := t.cpu()
	if err != nil {
		return err
	}
	t.note(row, "%.1f %%", 100*(now-before).Seconds()/idleTime.Seconds())
	return nil
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}
