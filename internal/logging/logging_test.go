package logging

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"weir/internal/base"
)

// steppingClock moves on by a second with every look at it.
type steppingClock struct {
	base.Clock
	now time.Time
}

func (c *steppingClock) Now() time.Time {
	c.now = c.now.Add(time.Second)
	return c.now
}

func newClock() *steppingClock {
	return &steppingClock{base.SystemClock, time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)}
}

func TestLines(t *testing.T) {
	var buf bytes.Buffer
	l, err := New(Options{Time: true, UTC: true, Debug: true, Writer: &buf, Clock: newClock()})
	if err != nil {
		t.Fatal(err)
	}
	l.Noticef("ready on %d", 4222)
	l.Warnf("w\n")
	l.Errorf("e")
	l.Fatalf("f")
	l.Debugf("d")
	l.Tracef("not shown")
	got := regexp.MustCompile(`(?m)^\[\d+\]`).ReplaceAllString(buf.String(), "[pid]")
	want := `[pid] 2026/11/23 12:00:01.000000 [INF] ready on 4222
[pid] 2026/11/23 12:00:02.000000 [WRN] w
[pid] 2026/11/23 12:00:03.000000 [ERR] e
[pid] 2026/11/23 12:00:04.000000 [FTL] f
[pid] 2026/11/23 12:00:05.000000 [DBG] d
`
	if got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}

func TestLinesWithoutTime(t *testing.T) {
	var buf bytes.Buffer
	l, err := New(Options{Writer: &buf})
	if err != nil {
		t.Fatal(err)
	}
	l.Noticef("text")
	if !strings.HasSuffix(buf.String(), "] [INF] text\n") {
		t.Errorf("got %q", buf.String())
	}
	if err := l.Reopen(); err != nil {
		t.Error(err)
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
}

func TestReopen(t *testing.T) {
	path := filepath.Join(t.TempDir(), "weir.log")
	l, err := New(Options{File: path})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	l.Noticef("one")
	if err := os.Rename(path, path+".old"); err != nil {
		t.Fatal(err)
	}
	l.Noticef("two")
	if err := l.Reopen(); err != nil {
		t.Fatal(err)
	}
	l.Noticef("three")
	if got := read(t, path+".old"); !strings.Contains(got, "one") || !strings.Contains(got, "two") {
		t.Errorf("old file: %q", got)
	}
	if got := read(t, path); strings.Count(got, "\n") != 1 || !strings.Contains(got, "three") {
		t.Errorf("new file: %q", got)
	}
}

func TestRotate(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "we[i]r.log")
	l, err := New(Options{File: path, SizeLimit: 200, MaxFiles: 3, Clock: newClock()})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for range 20 {
		l.Noticef("%s", strings.Repeat("x", 150))
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	if len(entries) != 3 {
		t.Errorf("got %d files, want 3: %v", len(entries), entries)
	}
	if got := read(t, path); !strings.Contains(got, "Rotated log") {
		t.Errorf("the file starts with %q", got)
	}
}

func TestOpenFails(t *testing.T) {
	if _, err := New(Options{File: filepath.Join(t.TempDir(), "absent", "l")}); err == nil {
		t.Error("no error for a directory that is absent")
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
