package differential

import (
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var list = flag.String("list", "", "do the requests of this file instead of the fixed lists")

// TestFixedLists does lists that once found a difference. A list is a file of steps as
// a report shows them, a line each; # begins a comment. Those in one are for a server
// alone, those in three for a cluster, those in both for either.
func TestFixedLists(t *testing.T) {
	for nodes, dirs := range map[int][]string{1: {"one", "both"}, 3: {"three", "both"}} {
		var files []string
		for _, dir := range dirs {
			found, err := filepath.Glob(filepath.Join("testdata", dir, "*.txt"))
			if err != nil {
				t.Fatal(err)
			}
			files = append(files, found...)
		}
		if *list != "" {
			files = []string{*list}
		}
		t.Run(fmt.Sprint(nodes), func(t *testing.T) { runLists(t, nodes, files) })
	}
}

func runLists(t *testing.T, nodes int, files []string) {
	ctx, cancel := context.WithTimeout(t.Context(), trialTime)
	defer cancel()
	pair := startPair(ctx, t, nodes)
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			steps, err := readList(file)
			if err != nil {
				t.Fatal(err)
			}
			f, err := pair.run(ctx, steps)
			if err != nil {
				t.Fatal(err)
			}
			if f != nil {
				t.Errorf("the answers to %s differ: %v", f.step, f.differences)
			}
		})
	}
}

func readList(file string) ([]*step, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var steps []*step
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSuffix(line, "\n")
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		s, err := parseStep(line)
		if err != nil {
			return nil, fmt.Errorf("%s: %q: %w", file, line, err)
		}
		steps = append(steps, s)
	}
	return steps, nil
}

func TestStepsAreReadAsWritten(t *testing.T) {
	for _, nodes := range []int{1, 3} {
		for _, s := range generate(Options{Seed: 7, Steps: 500, Replicas: nodes}) {
			back, err := parseStep(s.String())
			if err != nil || back.String() != s.String() || back.body != s.body || back.subject != s.subject {
				t.Errorf("%s is read as %v, %v", s, back, err)
			}
		}
	}
}
