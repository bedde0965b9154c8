package server

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"weir/internal/api"
	"weir/internal/apierr"
)

// TestRow41_ScaleAndMove scales and moves a stream on five servers while it is
// published to and consumed: nothing is lost, consumers follow, acks stay. It shows
// rows 8, 10, 26 and 34 as well.
func TestRow41_ScaleAndMove(t *testing.T) {
	r := ownRows(t, 5)
	sub := func(name string, show func(r *rows, t *testing.T)) {
		t.Run(name, func(t *testing.T) {
			show(&rows{testCluster: r.in(t), ctx: r.ctx, sys: r.sys, app: r.app, js: r.js}, t)
		})
	}
	sub("TestRow41_Scale", row41Scale)
	sub("TestRow41_Move", row41Move)
	sub("TestRow41_Change", row41Change)
	sub("TestRow41_Refused", row41Refused)
	sub("TestRow26_PeerRemove", row26)
	sub("TestRow22_MoveByTags", row22Move)
	sub("TestRow22_Evacuate", row22Evacuate)
	sub("TestRow40_StalledLeader", row40)
}

// load publishes to a stream and consumes it with a durable until stop, which
// returns how much was acknowledged when all of it has been consumed.
type load struct {
	r         *rows
	stream    string
	quit      chan struct{}
	done      chan struct{} // nothing more is published
	work      sync.WaitGroup
	published int
	seen      map[uint64]bool // by sequence: whether its ack was confirmed
}

func (r *rows) load(stream, consumer string) *load {
	l := &load{r: r, stream: stream, quit: make(chan struct{}), done: make(chan struct{}), seen: map[uint64]bool{}}
	l.work.Go(func() {
		defer close(l.done)
		for i := 0; ; i++ {
			select {
			case <-l.quit:
				return
			default:
			}
			if r.tryPublish(stream+".x", jetstream.WithMsgID(fmt.Sprint(i))) == nil {
				l.published++
			}
		}
	})
	l.work.Go(func() { l.consume(consumer) })
	return l
}

// consume acks with confirmation until nothing more is published and nothing is left.
func (l *load) consume(name string) {
	stopped := false
	for r := l.r; r.ctx.Err() == nil; {
		select {
		case <-l.done:
			stopped = true
		default:
		}
		cons, err := r.js.Consumer(r.ctx, l.stream, name)
		if err != nil {
			continue
		}
		batch, err := cons.Fetch(50, jetstream.FetchMaxWait(300*time.Millisecond))
		if err != nil {
			continue
		}
		n := 0
		for m := range batch.Messages() {
			n++
			l.take(m)
		}
		if stopped && n == 0 {
			if info, err := cons.Info(r.ctx); err == nil && info.NumPending == 0 && info.NumAckPending == 0 {
				return
			}
		}
	}
}

func (l *load) take(m jetstream.Msg) {
	meta, err := m.Metadata()
	if err != nil {
		l.r.t.Error(err)
		return
	}
	if l.seen[meta.Sequence.Stream] {
		l.r.t.Errorf("message %d came again after its ack was confirmed", meta.Sequence.Stream)
	}
	ctx, cancel := context.WithTimeout(l.r.ctx, time.Second)
	defer cancel()
	l.seen[meta.Sequence.Stream] = m.DoubleAck(ctx) == nil
}

// stop wants everything published to be there and consumed.
func (l *load) stop() {
	l.r.t.Helper()
	close(l.quit)
	l.work.Wait()
	info := l.r.info(l.stream)
	if int(info.State.Msgs) < l.published || len(l.seen) < l.published || l.published == 0 {
		l.r.t.Errorf("%d published, %d in the stream, %d consumed", l.published, info.State.Msgs, len(l.seen))
	}
}

// settled waits until a stream has n members, all current, and nothing more to do.
func (r *rows) settled(name string, n int) *api.ClusterInfo {
	r.t.Helper()
	var c *api.ClusterInfo
	var a *answer
	defer func() {
		if r.t.Failed() {
			r.t.Logf("%s", a.raw)
		}
	}()
	r.until(fmt.Sprintf("%s on %d servers", name, n), func() bool {
		if a = r.ask(r.app, "STREAM.INFO."+name, nil); a.Error != nil {
			return false
		}
		info := new(api.StreamInfo)
		a.into(r.t, info)
		c = info.Cluster
		behind := func(p *api.PeerInfo) bool { return !p.Current || p.Pending }
		return c.Leader != "" && len(c.Replicas) == n-1 && c.Desired == nil && !slices.ContainsFunc(c.Replicas, behind)
	})
	return c
}

func row41Scale(r *rows, t *testing.T) {
	r.stream("SC", 1)
	r.consumer("SC", "c", durable("c", `"ack_wait":2000000000`))
	l := r.load("SC", "c")
	was := r.settled("SC", 1)
	for _, n := range []int{3, 5, 3, 1} {
		if a := r.update("SC", func(c *api.StreamConfig) { c.Replicas = n }); a.Error != nil {
			t.Fatalf("to %d: %s", n, a.raw)
		}
		c := r.settled("SC", n)
		if n < len(was.Replicas)+1 && c.Leader != was.Leader {
			t.Errorf("from %v to %d: %s leads, %s did", members(was), n, c.Leader, was.Leader)
		}
		if kept := func(p string) bool { return slices.Contains(members(c), p) }; n > len(was.Replicas)+1 && slices.ContainsFunc(members(was), func(p string) bool { return !kept(p) }) {
			t.Errorf("from %v to %v", members(was), members(c))
		}
		if len(was.Replicas) > 0 && len(c.Replicas) > 0 && was.RaftGroup != c.RaftGroup { // row 34
			t.Errorf("group %s became %s", was.RaftGroup, c.RaftGroup)
		}
		r.until("the consumer has the stream's members", func() bool {
			got := members(r.consumerInfo("SC", "c").Cluster)
			return len(got) == n && got[0] != "" && !slices.ContainsFunc(got, func(p string) bool { return !slices.Contains(members(c), p) })
		})
		was = c
	}
	l.stop()
	if a := r.update("SC", func(c *api.StreamConfig) { c.Replicas = 3 }); a.Error != nil {
		t.Fatalf("%s", a.raw)
	}
	r.settled("SC", 3)
	r.sameOnAll("SC")
}

func row41Move(r *rows, t *testing.T) {
	r.stream("MV", 2, onlyOn(excludes("n3", "n4", "n5")...))
	r.consumer("MV", "c", durable("c", `"ack_wait":2000000000`))
	l := r.load("MV", "c")
	r.settled("MV", 2)
	before := r.consumerInfo("MV", "c")
	move := func(tags []string) {
		t.Helper()
		if a := r.update("MV", func(c *api.StreamConfig) { c.Placement = &api.Placement{Tags: tags} }); a.Error != nil {
			t.Fatalf("move: %s", a.raw)
		}
	}
	move(excludes("n1", "n2", "n3"))
	c := r.settled("MV", 2)
	if got := slices.Sorted(slices.Values(members(c))); !slices.Equal(got, []string{"n4", "n5"}) {
		t.Errorf("on %v", got)
	}
	r.until("the consumer moved", func() bool {
		info := r.consumerInfo("MV", "c")
		if info.AckFloor.Stream < before.AckFloor.Stream || info.Delivered.Stream < before.Delivered.Stream {
			t.Fatalf("from %+v back to %+v", before, info)
		}
		return info.Cluster.Leader == "n4" || info.Cluster.Leader == "n5"
	})
	// Off a server, by the system account, and perhaps back by a cancel.
	move(excludes("n2"))
	if got := members(r.settled("MV", 2)); !slices.Contains(got, "n4") || !slices.Contains(got, "n5") {
		t.Errorf("on %v: those that suit should stay", got)
	}
	r.must(r.sys, "ACCOUNT.STREAM.MOVE.APP.MV", `{"server":"n4"}`)
	a := r.ask(r.sys, "ACCOUNT.STREAM.CANCEL_MOVE.APP.MV", nil)
	if a.Error != nil && a.code() != int(apierr.JSStreamReconfigureNotInProgressErr.ErrCode) {
		t.Errorf("%s", a.raw)
	}
	r.settled("MV", 2)
	l.stop()
	r.sameOnAll("MV")
}

// row41Change changes a configuration, its retention at last, while the leaders of the stream and of its
// consumer step down.
func row41Change(r *rows, t *testing.T) {
	r.stream("CH", 3)
	r.consumer("CH", "c", durable("c", `"ack_wait":2000000000`))
	l := r.load("CH", "c")
	for i, change := range []func(*api.StreamConfig){
		func(c *api.StreamConfig) { c.Subjects = append(c.Subjects, "CH2.>") },
		func(c *api.StreamConfig) { c.MaxMsgs, c.MaxAge = 1_000_000, time.Hour },
		func(c *api.StreamConfig) { c.Compression, c.Duplicates = api.S2Compression, time.Minute },
		func(c *api.StreamConfig) { c.Retention = api.InterestRetention },
	} {
		before := r.consumerInfo("CH", "c").AckFloor.Stream
		if a := r.update("CH", change); a.Error != nil {
			t.Fatalf("change %d: %s", i, a.raw)
		}
		r.must(r.app, "STREAM.LEADER.STEPDOWN.CH", nil)
		r.must(r.app, "CONSUMER.LEADER.STEPDOWN.CH.c", nil)
		r.until("the consumer goes on", func() bool { return r.consumerInfo("CH", "c").AckFloor.Stream > before+20 })
	}
	close(l.quit)
	l.work.Wait()
	if len(l.seen) < l.published || l.published == 0 {
		t.Errorf("%d published, %d consumed", l.published, len(l.seen))
	}
	if state := r.info("CH").State; state.Msgs != 0 || int(state.LastSeq) < l.published {
		t.Errorf("everything was acked: %+v of %d", state, l.published)
	}
	r.sameOnAll("CH")
}

func row41Refused(r *rows, t *testing.T) {
	r.stream("RF", 3)
	edit := func(change func(*api.StreamConfig)) int {
		a := r.update("RF", change)
		return a.code()
	}
	for _, c := range []struct {
		what   string
		change func(*api.StreamConfig)
		want   int
	}{
		{"storage", func(c *api.StreamConfig) { c.Storage = api.MemoryStorage }, 10052},
		{"move and scale", func(c *api.StreamConfig) { c.Replicas, c.Placement = 1, &api.Placement{Tags: []string{"n1"}} }, 10123},
		{"more than there are", func(c *api.StreamConfig) { c.Replicas = 7 }, 10052},
		{"nowhere", func(c *api.StreamConfig) { c.Placement = &api.Placement{Tags: []string{"nowhere"}} }, 10005},
	} {
		if got := edit(c.change); got != c.want {
			t.Errorf("%s: %d, want %d", c.what, got, c.want)
		}
	}
	r.refused(r.app, "STREAM.UPDATE.NONE", limited("NONE", ""), 10059)
	r.stream("RF2", 1)
	if a := r.update("RF2", func(c *api.StreamConfig) { c.Subjects = []string{"RF.x"} }); a.code() != 10065 {
		t.Errorf("overlap: %s", a.raw)
	}
}

func row26(r *rows, t *testing.T) {
	r.stream("PR", 3, onlyOn(excludes("n5")...))
	r.publish("PR.x", 20)
	c := r.settled("PR", 3)
	victim := c.Replicas[0].Name
	r.must(r.app, "STREAM.PEER.REMOVE.PR", `{"peer":"`+victim+`"}`)
	r.without("PR", victim)
	if got := members(r.settled("PR", 3)); slices.Contains(got, victim) || slices.Contains(got, "n5") {
		t.Errorf("%v without %s", got, victim)
	}
	r.sameOnAll("PR")
	r.refused(r.app, "STREAM.PEER.REMOVE.PR", `{"peer":"nobody"}`, 10040)
	// By its peer id, and nobody can take over: the group goes on with fewer.
	r.stream("PR3", 3, onlyOn(excludes("n4", "n5")...))
	c = r.settled("PR3", 3)
	r.refused(r.app, "STREAM.PEER.REMOVE.PR3", `{"peer":"`+c.Replicas[0].Peer+`"}`, 10075)
	r.without("PR3", c.Replicas[0].Name)
	r.settled("PR3", 2)
	r.stream("PR1", 1, onlyOn("n2"))
	r.refused(r.app, "STREAM.PEER.REMOVE.PR1", `{"peer":"n2"}`, 10075)
	if got := members(r.settled("PR1", 1)); got[0] != "n2" {
		t.Errorf("%v", got)
	}
}

// row22Move: a move names a server, a cluster or tags; what the placement says stays.
func row22Move(r *rows, t *testing.T) {
	r.stream("MW", 1)
	r.publish("MW.x", 20)
	at := r.settled("MW", 1).Leader
	to := "n2"
	if at == to {
		to = "n3"
	}
	r.refused(r.sys, "ACCOUNT.STREAM.MOVE.APP.MW", `{}`, 10003)
	r.refused(r.sys, "ACCOUNT.STREAM.MOVE.APP.NONE", `{"tags":["n1"]}`, 10059)
	r.refused(r.sys, "ACCOUNT.STREAM.MOVE.APP.MW", `{"cluster":"elsewhere"}`, 10005)
	r.refused(r.sys, "ACCOUNT.STREAM.MOVE.APP.MW", `{"server":"n9"}`, 10044)
	a := r.refused(r.sys, "ACCOUNT.STREAM.MOVE.APP.MW", `{"tags":["none"]}`, 10005)
	if want := "no suitable peers for placement, tags not matched ['none']"; a.Error.Description != want {
		t.Errorf("%q, want %q", a.Error.Description, want)
	}
	r.must(r.sys, "ACCOUNT.STREAM.MOVE.APP.MW", fmt.Sprintf(`{"tags":[%q]}`, to))
	r.until("the stream is on "+to, func() bool {
		c := r.info("MW").Cluster
		return c.Leader == to && len(c.Replicas) == 0 && c.Desired == nil
	})
	if info := r.info("MW"); info.State.Msgs != 20 || info.Config.Placement != nil {
		t.Errorf("%d messages, placement %+v", info.State.Msgs, info.Config.Placement)
	}
	r.must(r.sys, "ACCOUNT.STREAM.MOVE.APP.MW", fmt.Sprintf(`{"server":%q,"cluster":"test"}`, to))
	r.until("the stream is off "+to, func() bool {
		c := r.info("MW").Cluster
		return c.Leader != to && len(c.Replicas) == 0
	})
}

// row22Evacuate: all that a server holds goes elsewhere, and what has nowhere to go stays.
func row22Evacuate(r *rows, t *testing.T) {
	r.stream("EV1", 1, onlyOn("n5"))
	r.update("EV1", func(c *api.StreamConfig) { c.Placement = nil })
	r.stream("EV3", 3, onlyOn(excludes("n1", "n2")...))
	r.update("EV3", func(c *api.StreamConfig) { c.Placement = nil })
	r.publish("EV3.x", 20)
	r.refused(r.sys, "SERVER.EVACUATE", nil, 10003)
	r.refused(r.sys, "SERVER.EVACUATE", `{"peer":"n9"}`, 10044)
	stays := r.stream("EVN", 1, onlyOn("n5"))
	r.refused(r.sys, "SERVER.EVACUATE", `{"peer":"n5"}`, 10075)
	r.must(r.app, "STREAM.DELETE."+stays.Config.Name, nil)
	r.must(r.sys, "SERVER.EVACUATE", `{"peer":"n5"}`)
	for name, replicas := range map[string]int{"EV1": 1, "EV3": 3} {
		r.without(name, "n5")
		r.settled(name, replicas)
	}
	r.sameOnAll("EV3")
}

// without waits until a server is no member of a stream any more.
func (r *rows) without(name, server string) {
	r.t.Helper()
	r.until(server+" left "+name, func() bool { return !slices.Contains(members(r.info(name).Cluster), server) })
}

// row40: nothing that the meta leader does waits for the leader of the stream.
func row40(r *rows, t *testing.T) {
	r.stream("ST", 3, onlyOn(excludes("n4", "n5")...))
	c := r.settled("ST", 3)
	if c.Leader == "n1" {
		r.must(r.app, "STREAM.LEADER.STEPDOWN.ST", `{"placement":{"preferred":"n2"}}`)
		c = r.settled("ST", 3)
	}
	r.stopServer(c.Leader)
	a := r.ask(r.app, "STREAM.UPDATE.ST", api.StreamConfig{Name: "ST", Subjects: []string{"ST.>"}, Replicas: 1,
		Retention: api.LimitsRetention, Storage: api.FileStorage, Placement: &api.Placement{Tags: excludes("n4", "n5")}})
	if a.Error != nil {
		t.Fatalf("%s", a.raw)
	}
	if got := members(r.settled("ST", 1)); got[0] == c.Leader {
		t.Errorf("on %v, which is down", got)
	}
}
