package server

import (
	"fmt"
	"slices"
	"testing"

	"weir/internal/api"
	"weir/internal/monitor"
)

// TestRow04_MemberThatWasRemoved: the server that ran the consumer answers no more, another one does, alone.
func TestRow04_MemberThatWasRemoved(t *testing.T) {
	r := sharedRows(t)
	r.stream("R4", 3)
	r.consumer("R4", "c", durable("c", ""))
	r.until("all three list it", func() bool { return r.listed("R4", "c") == 3 })
	was := r.consumerInfo("R4", "c").Cluster.Leader
	r.refused(r.app, "STREAM.PEER.REMOVE.R4", `{"peer":"`+was+`"}`, 10075) // there is no fourth
	r.without("R4", was)
	r.until("another server runs the consumer", func() bool {
		a := r.once(r.app, "CONSUMER.INFO.R4.c", nil)
		var info api.ConsumerInfo
		a.into(t, &info)
		return a.Error == nil && info.Cluster.Leader != "" && info.Cluster.Leader != was
	})
	r.until("it is listed by two servers", func() bool { return r.listed("R4", "c") == 2 })
}

// TestRow08_ScaledConsumer scales a consumer while it works: its position stays.
func TestRow08_ScaledConsumer(t *testing.T) {
	r := sharedRows(t)
	r.stream("R8", 3)
	r.publish("R8.x", 9)
	r.consumer("R8", "c", durable("c", ""))
	c, err := r.js.Consumer(r.ctx, "R8", "c")
	if err != nil {
		t.Fatal(err)
	}
	for i, replicas := range []int{1, 3, 1} {
		for _, m := range r.fetch(c, 3) {
			if err := m.DoubleAck(r.ctx); err != nil {
				t.Fatal(err)
			}
		}
		r.must(r.app, "CONSUMER.CREATE.R8.c", consumerBody("R8", "update", "c", durable("c", fmt.Sprintf(`"num_replicas":%d`, replicas))))
		r.until("the new count shows", func() bool { return len(r.consumerInfo("R8", "c").Cluster.Replicas) == replicas-1 })
		info, want := r.consumerInfo("R8", "c"), uint64(3*(i+1))
		if info.AckFloor.Stream != want || info.Delivered.Stream != want || info.NumAckPending != 0 || info.NumPending != 9-want {
			t.Errorf("with %d replicas: %+v", replicas, info)
		}
	}
}

// TestRow21_OneAnswer: a consumer that can not be made is answered once and is listed nowhere.
func TestRow21_OneAnswer(t *testing.T) {
	r := sharedRows(t)
	r.stream("R21", 3)
	r.consumer("R21", "c", durable("c", ""))
	for _, body := range []string{durable("d", `"num_replicas":5`), durable("d", `"filter_subject":"a..b"`), durable("d", `"deliver_policy":"by_start_sequence"`)} {
		if a := r.once(r.app, "CONSUMER.CREATE.R21.d", consumerBody("R21", "", "d", body)); a.Error == nil {
			t.Errorf("%s is accepted: %s", body, a.raw)
		}
	}
	var names api.ConsumerNamesResponse
	r.must(r.app, "CONSUMER.NAMES.R21", nil).into(t, &names)
	if !slices.Equal(names.Consumers, []string{"c"}) || r.listed("R21", "d") != 0 {
		t.Errorf("%v, and %d servers list what was refused", names.Consumers, r.listed("R21", "d"))
	}
}

// listed is the number of servers on which monitoring lists a consumer.
func (r *rows) listed(stream, consumer string) (servers int) {
	for _, s := range r.servers {
		d := (&source{Server: s}).jetStreamAccount("APP", monitor.JszOptions{Streams: true, Consumer: true})
		for _, st := range d.Streams {
			if st.Name == stream && slices.ContainsFunc(st.Consumer, func(c *api.ConsumerInfo) bool { return c.Name == consumer }) {
				servers++
			}
		}
	}
	return servers
}
