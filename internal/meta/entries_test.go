package meta

import (
	"slices"
	"strconv"
	"testing"

	"github.com/cockroachdb/datadriven"
)

// entry applies an entry as it stands in a log, quoted as in Go.
func (r *runner) entry(d *datadriven.TestData) string {
	c, err := Decode(unquote(r.t, d.Input))
	if err != nil {
		r.t.Fatal(err)
	}
	r.index++
	effects := r.state.Apply(r.index, c)
	r.state = reopen(r.t, r.state)
	return format(&effects)
}

// restore reads an image, quoted as in Go.
func (r *runner) restore(d *datadriven.TestData) string {
	s, err := Restore(unquote(r.t, d.Input))
	if err != nil {
		r.t.Fatal(err)
	}
	r.state, r.index = reopen(r.t, s), s.Applied()
	return r.show()
}

func unquote(t *testing.T, text string) []byte {
	data, err := strconv.Unquote(text)
	if err != nil {
		t.Fatal(err)
	}
	return []byte(data)
}

// TestEveryKindIsKept: a log may hold entries that are as old as their kind, so one of each is kept.
func TestEveryKindIsKept(t *testing.T) {
	var kept []byte
	datadriven.RunTest(t, "testdata/apply/entries", func(t *testing.T, d *datadriven.TestData) string {
		if d.Cmd == "entry" {
			kept = append(kept, unquote(t, d.Input)[1])
		}
		return d.Expected
	})
	for kind := range byte(255) {
		if newBody(kind) != nil && !slices.Contains(kept, kind) {
			t.Errorf("there is no entry of kind %d in testdata/apply/entries", kind)
		}
	}
}
