package jetstream

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"weir/internal/api"
	"weir/internal/meta"
)

// failures are the StreamFailed events of a node.
type failures struct {
	noEvents
	told chan string
}

func (f failures) StreamFailed(a *meta.Assignment, origin meta.Origin, created bool, why error) {
	f.told <- fmt.Sprintf("%s %s %v: %v", a.Name, origin.Reply, created, why)
}

// Who asks for a stream whose only replica can not be opened hears of it, and nothing
// is left of the stream.
func TestStreamThatCanNotBeOpened(t *testing.T) {
	c := newTestCluster(t, 3)
	events := failures{told: make(chan string, 10)}
	for i := range 3 {
		h := &harness{t: t, fs: vfs.NewMem(), name: fmt.Sprint("n", i)}
		c.all = append(c.all, h)
		c.create(h)
		h.node.SetEvents(events)
		c.launch(h)
	}
	c.untilHealthy()
	create := func(replicas int) {
		raw, err := json.Marshal(streamConfig("S", api.FileStorage, replicas))
		if err != nil {
			t.Fatal(err)
		}
		// No node has this account, so none can open the stream.
		c.propose(&meta.StreamCreate{Account: "unknown", Config: raw, Nodes: ids(c.all[:replicas]), Request: &meta.Origin{Subject: "create", Reply: "inbox"}})
	}
	create(1)
	select {
	case got := <-events.told:
		if want := `S inbox true: account "unknown" is not configured`; got != want {
			t.Errorf("told %q, want %q", got, want)
		}
	case <-time.After(time.Minute):
		t.Fatal("nobody was told")
	}
	exists := func() (found bool) {
		c.metaLeader().node.View(func(s *meta.State) { found = s.Stream("unknown", "S") != nil })
		return found
	}
	c.until("the stream is gone", func() bool { return !exists() })
	create(3)
	c.until("a stream of three waits for members that work", exists)
	if len(events.told) > 0 {
		t.Errorf("told %q", <-events.told)
	}
}
