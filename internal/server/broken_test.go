package server

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"weir/internal/api"
	"weir/internal/meta"
)

var errTestDisk = errors.New("no space left on the test's disk")

// breakReplica has the replica of a stream on a server stop as if its disk had failed.
func (r *rows) breakReplica(stream string, server int) {
	for _, st := range r.servers[server].node.Streams() {
		if st.Name() == stream {
			st.Group().Fail(errTestDisk)
		}
	}
}

func (r *rows) untilBroken(stream string) {
	r.t.Helper()
	r.until("everybody knows that "+stream+" is broken", func() bool {
		for _, s := range r.servers {
			var a *meta.Assignment
			s.node.View(func(m *meta.State) { a = m.Stream("APP", stream) })
			if s.node.Broken(a) == "" {
				return false
			}
		}
		return true
	})
}

// TestBrokenStreamIsRefused has the majority of a stream's replicas stop while their servers are up: who asks
// about the stream is told why at once, wherever it asks, and it can be deleted.
func TestBrokenStreamIsRefused(t *testing.T) {
	r := ownRows(t, 3)
	r.stream("ONE", 1, onlyOn("n2"))
	r.stream("THREE", 3)
	r.stream("OTHER", 1, onlyOn("n2"))
	for _, name := range []string{"ONE", "THREE"} {
		r.consumer(name, "c", durable("c", ""))
		r.publish(name+".x", 2)
	}
	r.breakReplica("ONE", 1)
	r.untilBroken("ONE")
	r.breakReplica("THREE", 1)
	r.must(r.as(t, "app", 1), "STREAM.INFO.THREE", nil) // from the two others
	r.must(r.as(t, "app", 1), "CONSUMER.INFO.THREE.c", nil)
	r.breakReplica("THREE", 2)
	r.untilBroken("THREE")
	where := map[string]string{"ONE": "1 of 1 replicas failed, on n2: ", "THREE": "2 of 3 replicas failed, "}
	for name, why := range where {
		update := fmt.Sprintf(`{"name":%q,"subjects":["%[1]s.>"],"num_replicas":1,"retention":"limits","storage":"file"}`, name)
		for _, ask := range []struct {
			subj string
			body any
			code int
		}{
			{"STREAM.PURGE.", nil, 10194}, {"STREAM.MSG.DELETE.", `{"seq":1}`, 10194}, {"STREAM.UPDATE.", update, 10194},
			{"STREAM.INFO.", nil, 10194}, {"STREAM.MSG.GET.", `{"seq":1}`, 10194}, {"STREAM.LEADER.STEPDOWN.", nil, 10194},
			{"CONSUMER.INFO.", nil, 10195}, {"CONSUMER.DELETE.", nil, 10195},
		} {
			subj := ask.subj + name
			if ask.code == 10195 {
				subj += ".c"
			}
			for i := range r.servers {
				begin := time.Now()
				a := r.refused(r.as(t, "app", i), subj, ask.body, ask.code)
				if text := string(a.raw); !strings.Contains(text, why) || !strings.Contains(text, errTestDisk.Error()) {
					t.Errorf("%s on n%d: %s", subj, i+1, text)
				}
				if d := time.Since(begin); d > 2*time.Second {
					t.Errorf("%s on n%d: answered after %v", subj, i+1, d)
				}
			}
		}
	}
	var list api.StreamListResponse
	r.must(r.app, "STREAM.LIST", nil).into(t, &list)
	if len(list.Streams) != 1 || !strings.Contains(list.Offline["ONE"], where["ONE"]) || !strings.Contains(list.Offline["THREE"], where["THREE"]) {
		t.Errorf("%d streams, offline %v", len(list.Streams), list.Offline)
	}
	r.publish("OTHER.x", 1)
	for name := range where {
		r.must(r.app, "STREAM.DELETE."+name, nil)
		r.stream(name, 3)
		r.publish(name+".x", 1)
	}
	r.until("healthy servers", func() bool {
		for _, s := range r.servers {
			if s.node.Healthy() != nil {
				return false
			}
		}
		return true
	})
}
