package jsapi

import (
	"slices"
	"strings"
	"testing"

	"weir/internal/jetstream"
	"weir/internal/wire"
)

func TestFind(t *testing.T) {
	for _, c := range []struct {
		subject string
		want    string // pattern; "" for none
		args    string
	}{
		{"$JS.API.INFO", "INFO", ""},
		{"$JS.API.STREAM.CREATE.S", "STREAM.CREATE.*", "S"},
		{"$JS.API.STREAM.CREATE", "", ""},
		{"$JS.API.STREAM.CREATE.", "", ""},
		{"$JS.API.STREAM.CREATE.a.b", "", ""},
		{"$JS.API.STREAM.NAMES", "STREAM.NAMES", ""},
		{"$JS.API.STREAM.NAMES.x", "", ""},
		{"$JS.API.STREAM.MSG.GET.S", "STREAM.MSG.GET.*", "S"},
		{"$JS.API.STREAM.LEADER.STEPDOWN.S", "STREAM.LEADER.STEPDOWN.*", "S"},
		{"$JS.API.CONSUMER.CREATE.S", "CONSUMER.CREATE.*", "S"},
		{"$JS.API.CONSUMER.CREATE.S.C", "CONSUMER.CREATE.*.*", "S C"},
		{"$JS.API.CONSUMER.CREATE.S.C.f", "CONSUMER.CREATE.*.*.>", "S C f"},
		{"$JS.API.CONSUMER.CREATE.S.C.f.*.>", "CONSUMER.CREATE.*.*.>", "S C f.*.>"},
		{"$JS.API.CONSUMER.DURABLE.CREATE.S.C", "CONSUMER.DURABLE.CREATE.*.*", "S C"},
		{"$JS.API.CONSUMER.LEADER.STEPDOWN.S.C", "CONSUMER.LEADER.STEPDOWN.*.*", "S C"},
		{"$JS.API.DIRECT.GET.S", "DIRECT.GET.*", "S"},
		{"$JS.API.DIRECT.GET.S.a.b.c", "DIRECT.GET.*.>", "S a.b.c"},
		{"$JS.API.META.LEADER.STEPDOWN", "META.LEADER.STEPDOWN", ""},
		{"$JS.API.ACCOUNT.STREAM.MOVE.A.S", "ACCOUNT.STREAM.MOVE.*.*", "A S"},
		{"$JS.API.NONE", "", ""},
		{"$JS.API.", "", ""},
		{"orders.new", "", ""},
	} {
		e, args := find(c.subject)
		pattern := ""
		if e != nil {
			pattern = e.subject
		}
		if pattern != c.want || strings.Join(args, " ") != c.args {
			t.Errorf("find(%q) = %q %q, want %q %q", c.subject, pattern, args, c.want, c.args)
		}
	}
}

// TestTable: every subject has a handler and, unless it answers with headers, a
// type; consumers' subjects name their stream first; clients reach them by the name of the domain, too.
func TestTable(t *testing.T) {
	for _, e := range table() {
		direct := strings.HasPrefix(e.subject, "DIRECT.")
		if e.handle == nil || (e.response == "") != direct {
			t.Errorf("%s: handler %t, type %q", e.subject, e.handle != nil, e.response)
		}
		if e.class == consumerRunner && strings.Count(e.subject, "*") != 2 {
			t.Errorf("%s: no consumer in the subject", e.subject)
		}
		if e.writes && e.waits {
			t.Errorf("%s: writes would lose their order", e.subject)
		}
		if family, _, _ := strings.Cut(e.subject, "."); !slices.Contains(jetstream.Families(), family) {
			t.Errorf("%s: not to be reached by the name of the domain", e.subject)
		}
	}
}

func TestParseHot(t *testing.T) {
	for _, c := range []struct {
		subject string
		want    hotRequest
	}{
		{"$JS.ACK.S.C.1.2.3.4.5", hotRequest{ack, "", "S", "C", "1.2.3.4.5"}},
		{"$JS.ACK._.hash.S.C.1.2.3.4.5", hotRequest{ack, "_.hash.", "S", "C", "1.2.3.4.5"}},
		{"$JS.ACK.hub.hash.S.C.1.2.3.4.5.rnd", hotRequest{ack, "hub.hash.", "S", "C", "1.2.3.4.5.rnd"}},
		{"$JS.ACK.S", hotRequest{ack, "", "S", "", ""}},
		{"$JS.FC.S.C.id", hotRequest{flowReply, "", "S", "C", "id"}},
		{"$JS.FC._.hash.S.C.id", hotRequest{flowReply, "_.hash.", "S", "C", "id"}},
		{"$JS.API.CONSUMER.MSG.NEXT.S.C", hotRequest{pull, "", "S", "C", ""}},
		{"$JS.API.CONSUMER.INFO.S.C", hotRequest{}},
	} {
		got, ok := parseHot(c.subject)
		if got != c.want || ok != (c.want.kind != 0) {
			t.Errorf("parseHot(%q) = %+v, %t", c.subject, got, ok)
		}
	}
}

func TestLevelTooHigh(t *testing.T) {
	for level, want := range map[string]bool{"0": false, "5": false, "6": true, "05": false, "x": true, "99999999999999999999": true, "-1": false, "": false} {
		r := &jetstream.Request{Header: wire.HeaderBlock("Nats-Required-Api-Level", level)}
		if levelTooHigh(r) != want {
			t.Errorf("level %q: %t", level, !want)
		}
	}
	if levelTooHigh(&jetstream.Request{}) || levelTooHigh(&jetstream.Request{Header: wire.HeaderBlock("A", "b")}) {
		t.Error("a request without a level is refused")
	}
}

// TestMarker: what a client sets to look like a request that the meta leader
// passed on is taken off where the client is connected.
func TestMarker(t *testing.T) {
	c := &call{Request: &jetstream.Request{Header: wire.HeaderBlock(markerHeader, "1", "A", "b")}}
	if !c.passedOn() {
		t.Fatal("marker is not seen")
	}
	stripMarker(c.Request)
	if v, _ := wire.GetHeader(c.Header, "A"); c.passedOn() || string(v) != "b" {
		t.Errorf("left: %q", c.Header)
	}
}

// TestOrder: writes about one stream share a queue, and others do not all.
func TestOrder(t *testing.T) {
	s := newService(nil, Config{})
	queue := func(account, subj string) chan<- func() {
		e, args := find(subj)
		return e.queue(s, &call{Request: &jetstream.Request{Account: account, Subject: subj}, endpoint: e, args: args})
	}
	if queue("A", "$JS.API.STREAM.DELETE.S") != queue("A", "$JS.API.CONSUMER.CREATE.S.C") {
		t.Error("writes about one stream are not in order")
	}
	var readers chan<- func() = s.readers
	if queue("A", "$JS.API.STREAM.INFO.S") != readers {
		t.Error("a read waits behind writes")
	}
	var used []chan<- func()
	for _, name := range strings.Split("abcdefghijklmnopqrstuvwxyz", "") {
		if q := queue("A", "$JS.API.STREAM.CREATE."+name); !slices.Contains(used, q) {
			used = append(used, q)
		}
	}
	if len(used) != numWriters {
		t.Errorf("26 streams use %d of %d queues", len(used), numWriters)
	}
}
