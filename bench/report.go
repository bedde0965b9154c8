package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"
)

// report prints the table.
func (o *options) report(ctx context.Context, out io.Writer, all results) error {
	peer, err := versionOf(ctx, o.peer)
	if err != nil {
		return err
	}
	weir, err := versionOf(ctx, o.weir)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "%s. R3 file streams; three nodes and the clients on one machine: %s.\n", time.Now().Format(time.DateOnly), machine())
	fmt.Fprintf(out, "%s (default settings) and %s, median of %d rounds of %v in turn: messages per second, and µs of the servers' CPU per message.\n\n", peer, weir, o.rounds, o.length)
	fmt.Fprintln(out, "| | nats-server | Weir | ratio | nats-server, µs | Weir, µs |")
	fmt.Fprintln(out, "|---|---:|---:|---:|---:|---:|")
	for _, r := range o.rows {
		p, w := middle(all[r.name][peerSide]), middle(all[r.name][weirSide])
		fmt.Fprintf(out, "| %s | %s | %s | %.2f | %.1f | %.1f |\n", r.title, thousands(p.rate), thousands(w.rate), w.rate/p.rate, p.cpu, w.cpu)
	}
	return nil
}

// middle has the medians of figures.
func middle(figures []figure) figure {
	var rates, cpu []float64
	for _, f := range figures {
		rates, cpu = append(rates, f.rate), append(cpu, f.cpu)
	}
	return figure{median(rates), median(cpu)}
}

func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	n := len(sorted)
	return (sorted[(n-1)/2] + sorted[n/2]) / 2
}

// thousands is a rate to three digits, with commas.
func thousands(rate float64) string {
	n, unit := int64(rate), int64(1)
	for n/unit >= 1000 {
		unit *= 10
	}
	return commas((n + unit/2) / unit * unit)
}

// commas is a number with a comma between each three digits.
func commas(n int64) string {
	text := strconv.FormatInt(n, 10)
	for i := len(text) - 3; i > 0; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	return text
}

func versionOf(ctx context.Context, bin string) (string, error) {
	out, err := exec.CommandContext(ctx, bin, "-v").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("ask %s for its version: %w", bin, err)
	}
	return strings.TrimSpace(strings.ReplaceAll(string(out), ": ", " ")), nil
}

// machine says what this ran on.
func machine() string {
	return fmt.Sprintf("%d cores, %s, %s", runtime.NumCPU(), cpuModel(), kernel())
}

func cpuModel() string {
	f, err := os.Open("/proc/cpuinfo")
	if err != nil {
		return runtime.GOARCH
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if name, value, ok := strings.Cut(lines.Text(), ":"); ok && strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return runtime.GOARCH
}

func kernel() string {
	release, err := os.ReadFile("/proc/sys/kernel/osrelease")
	if err != nil {
		return runtime.GOOS
	}
	return runtime.GOOS + " " + strings.TrimSpace(string(release))
}
