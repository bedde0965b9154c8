package machine

import (
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"

	"weir/internal/stream/storetest"
)

// entry applies an entry as it stands in a log, quoted as in Go, and prints what it did.
func (w *world) entry(d *datadriven.TestData) string {
	cmd := unquote(w.t, d.Input)
	out := w.apply(cmd)
	var said []string
	say := func(format string, args ...any) { said = append(said, fmt.Sprintf(format, args...)) }
	for _, p := range out.Published {
		switch {
		case p.Err != nil:
			say("%d: %s", p.Request, strings.TrimSpace(storetest.ErrorText(p.Err)))
		case p.Fast != nil:
			say("%d: %s", p.Request, strings.TrimSpace(fastText(p.Fast)))
		default:
			say("%d: seq %d", p.Request, p.Seq)
		}
	}
	for _, r := range out.Replies {
		if r.Err != nil {
			say("%d: %s", r.Request, strings.TrimSpace(storetest.ErrorText(r.Err)))
		} else {
			say("%d: ok, purged %d", r.Request, r.Purged)
		}
	}
	for _, r := range out.Deltas {
		say("delta %d of consumer %d: verdict %d", r.Ticket, r.ID, r.Verdict)
	}
	for _, c := range out.Consumers {
		say("consumer %d changed: %d, runner %d", c.Consumer.ID, c.Change, c.Consumer.Runner)
	}
	for _, m := range out.Stored {
		say("stored %d of %s", m.Seq, m.Subject)
	}
	if said == nil {
		return "nothing\n"
	}
	return strings.Join(said, "\n") + "\n"
}

func unquote(t *testing.T, text string) []byte {
	cmd, err := strconv.Unquote(text)
	if err != nil {
		t.Fatal(err)
	}
	return []byte(cmd)
}

// TestEveryKindIsKept: a log may hold entries that are as old as their kind, so one of each is kept.
func TestEveryKindIsKept(t *testing.T) {
	kept := map[Kind]bool{}
	datadriven.RunTest(t, "testdata/entries", func(t *testing.T, d *datadriven.TestData) string {
		if d.Cmd == "entry" {
			kept[Kind(unquote(t, d.Input)[1])] = true
		}
		return d.Expected
	})
	for k := KindInit; k <= KindMeet; k++ {
		if !kept[k] {
			t.Errorf("there is no entry of kind %d in testdata/entries", k)
		}
	}
}
