package server

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"weir/internal/api"
)

// copiers are streams that copy from origins that drop what was delivered, on three replicas each: a work queue, one with
// interest, and one over a consumer made beforehand that lets two messages be under way.
var copiers = []struct{ subject, body string }{
	{"STREAM.CREATE.Q", `{"name":"Q","subjects":["q.>"],"retention":"workqueue","num_replicas":3,"storage":"file"}`},
	{"STREAM.CREATE.I", `{"name":"I","subjects":["i.>"],"retention":"interest","num_replicas":3,"storage":"file"}`},
	{"STREAM.CREATE.D", `{"name":"D","subjects":["d.>"],"retention":"workqueue","num_replicas":3,"storage":"file"}`},
	{"CONSUMER.CREATE.D.own", `{"stream_name":"D","config":{"name":"own","durable_name":"own","ack_policy":"flow_control","deliver_subject":"own.d",
		"idle_heartbeat":500000000,"max_ack_pending":2}}`},
	{"STREAM.CREATE.FQ", `{"name":"FQ","num_replicas":3,"storage":"file","sources":[{"name":"Q"}]}`},
	{"STREAM.CREATE.MI", `{"name":"MI","num_replicas":3,"storage":"file","mirror":{"name":"I"}}`},
	{"STREAM.CREATE.FD", `{"name":"FD","num_replicas":3,"storage":"file","sources":[{"name":"D","consumer":{"name":"own","deliver_subject":"own.d"}}]}`},
}

// TestReliableCopies has streams copy from origins that drop what is acknowledged, while every node goes and comes back:
// each message is copied once, and the origins are empty at the end.
func TestReliableCopies(t *testing.T) {
	r := ownRows(t, 3)
	for _, c := range copiers {
		r.must(r.app, c.subject, c.body)
	}
	r.until("the origins' consumers are there", func() bool {
		return len(r.consumersOf("Q")) == 1 && len(r.consumersOf("I")) == 1
	})
	published := 0
	for round := range 3 {
		r.stop(round)
		js := r.jsAt(t, (round+1)%3)
		for range 20 {
			for _, prefix := range []string{"q", "i", "d"} {
				publish(r.ctx, t, js, fmt.Sprintf("%s.%d", prefix, published))
			}
			published++
		}
		r.start(round)
		r.ready(round)
	}
	js := r.jsAt(t, 1)
	for _, name := range []string{"FQ", "MI", "FD"} {
		untilCopied(r.ctx, t, js, name, uint64(published))
	}
	for origin, copied := range map[string]string{"Q": "FQ", "I": "MI", "D": "FD"} {
		r.until(origin+" is empty", func() bool { return r.messages(js, origin) == 0 })
		s, err := js.Stream(r.ctx, copied)
		if err != nil {
			t.Fatal(err)
		}
		for i := range published {
			m, err := s.GetMsg(r.ctx, uint64(i+1))
			if want := fmt.Sprintf("%s.%d", strings.ToLower(origin), i); err != nil || m.Subject != want {
				t.Fatalf("message %d of %s: %v, %v; want %s", i+1, copied, m, err, want)
			}
		}
		if n := r.messages(js, copied); n != uint64(published) {
			t.Errorf("%s has %d messages, want %d", copied, n, published)
		}
	}
}

// TestCopierLeavesNothing removes a source and a mirror: their origins do not keep messages for them any longer.
func TestCopierLeavesNothing(t *testing.T) {
	r := sharedRows(t)
	r.must(r.app, "STREAM.CREATE.I", copiers[1].body)
	r.must(r.app, "STREAM.CREATE.MI", copiers[5].body)
	r.must(r.app, "STREAM.CREATE.F", `{"name":"F","num_replicas":3,"storage":"file","sources":[{"name":"I"}]}`)
	r.until("both have a consumer", func() bool { return len(r.consumersOf("I")) == 2 })
	r.must(r.app, "STREAM.UPDATE.F", `{"name":"F","num_replicas":3,"storage":"file","subjects":["f"]}`)
	r.until("the source's consumer is gone", func() bool { return len(r.consumersOf("I")) == 1 })
	r.must(r.app, "STREAM.DELETE.MI", nil)
	r.until("the mirror's consumer is gone", func() bool { return len(r.consumersOf("I")) == 0 })
}

// TestOriginChangesRetention publishes to an origin that drops what was delivered for some of the time: a mirror and a source have each
// message once, and it keeps consumers for them while it does.
func TestOriginChangesRetention(t *testing.T) {
	r := sharedRows(t)
	retain := func(request, retention string) {
		r.must(r.app, "STREAM."+request+".O", fmt.Sprintf(`{"name":"O","subjects":["o.>"],"num_replicas":3,"storage":"file","retention":%q}`, retention))
	}
	retain("CREATE", "limits")
	r.must(r.app, "STREAM.CREATE.M", `{"name":"M","num_replicas":3,"storage":"file","mirror":{"name":"O"}}`)
	r.must(r.app, "STREAM.CREATE.F", `{"name":"F","num_replicas":3,"storage":"file","sources":[{"name":"O","filter_subject":"o.*"}]}`)
	published := uint64(0)
	more := func() {
		for range 20 {
			published++
			publish(r.ctx, t, r.js, fmt.Sprintf("o.%d", published))
		}
	}
	more()
	for range 3 {
		retain("UPDATE", "interest")
		more()
		r.until("a consumer is kept for each copy", func() bool { return len(r.consumersOf("O")) == 2 })
		r.until("what was copied is gone", func() bool { return r.messages(r.js, "O") == 0 })
		retain("UPDATE", "limits")
		more()
		r.until("no consumer is kept", func() bool { return len(r.consumersOf("O")) == 0 })
		for _, name := range []string{"M", "F"} {
			r.until(name+" has all", func() bool { return r.messages(r.js, name) == published })
		}
	}
}

// jsAt is a client of one server.
func (r *rows) jsAt(t *testing.T, server int) jetstream.JetStream {
	t.Helper()
	js, err := jetstream.New(r.as(t, "app", server), jetstream.WithDefaultTimeout(patience))
	if err != nil {
		t.Fatal(err)
	}
	return js
}

// consumersOf are the names of a stream's consumers.
func (r *rows) consumersOf(stream string) []string {
	r.t.Helper()
	var list struct{ Consumers []string }
	r.must(r.app, "CONSUMER.NAMES."+stream, nil).into(r.t, &list)
	return list.Consumers
}

func (r *rows) messages(js jetstream.JetStream, stream string) uint64 {
	ctx, cancel := context.WithTimeout(r.ctx, patience)
	defer cancel()
	s, err := js.Stream(ctx, stream)
	if err != nil {
		return ^uint64(0)
	}
	return s.CachedInfo().State.Msgs
}

// TestAbsentCopierIsKnown changes the retention of an origin while its copiers are away: nothing that is published then, or was not copied
// before, is lost to them.
func TestAbsentCopierIsKnown(t *testing.T) {
	r := ownRows(t, 3)
	place := func(tag string) func(*api.StreamConfig) {
		return func(c *api.StreamConfig) { c.Placement = &api.Placement{Tags: []string{tag}} }
	}
	copyOf := func(set func(*api.StreamConfig)) func(*api.StreamConfig) {
		return func(c *api.StreamConfig) { c.Subjects = nil; set(c) }
	}
	r.stream("O", 1, place("n1"))
	r.stream("M", 1, place("n3"), copyOf(func(c *api.StreamConfig) { c.Mirror = &api.StreamSource{Name: "O"} }))
	r.stream("F", 1, place("n3"), copyOf(func(c *api.StreamConfig) { c.Sources = []*api.StreamSource{{Name: "O", FilterSubject: "O.a"}} }))
	r.stream("L", 1, place("n3"), copyOf(func(c *api.StreamConfig) { c.Sources = []*api.StreamSource{{Name: "O", OptStartSeq: 35}} }))
	wants := map[string]uint64{"M": 40, "F": 20, "L": 6}
	publishBoth := func(n int) { r.publish("O.a", n); r.publish("O.b", n) }
	publishBoth(5)
	r.until("the mirror has all", func() bool { return r.messages(r.js, "M") == 10 })
	r.stop(2)
	for _, retention := range []api.Retention{api.InterestRetention, api.LimitsRetention, api.InterestRetention} {
		publishBoth(5)
		if a := r.update("O", func(c *api.StreamConfig) { c.Retention = retention }); a.Error != nil {
			t.Fatal(a.Error)
		}
	}
	if list := r.consumersOf("O"); len(list) != 3 {
		t.Errorf("consumers are kept for %q", list)
	}
	r.start(2)
	r.ready(2)
	for name, n := range wants {
		r.until(name+" has all", func() bool { return r.messages(r.js, name) == n })
	}
	r.until("the origin is empty", func() bool { return r.messages(r.js, "O") == 0 })
}

// TestCopierKeepsItsName has two copiers of an interest stream, one of which is named as if it were another consumer of the first.
func TestCopierKeepsItsName(t *testing.T) {
	r := sharedRows(t)
	r.must(r.app, "STREAM.CREATE.I", copiers[1].body)
	for _, name := range []string{"copy", "copy-12345678"} {
		r.consumer("I", name, fmt.Sprintf(`"deliver_subject":%q,"sourcing":true,"direct":true,"flow_control":true,"idle_heartbeat":1000000000`, "to."+name))
	}
	if list := r.consumersOf("I"); !slices.Equal(list, []string{"copy", "copy-12345678"}) {
		t.Errorf("consumers %q", list)
	}
}
