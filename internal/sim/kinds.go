package sim

import (
	"time"

	"weir/internal/api"
)

// kind is a sort of consumer that a run may have, some of them with a filter of its own.
type kind struct {
	name   string
	config api.ConsumerConfig
	brief  bool // an ephemeral that goes when nobody uses it
	resets bool // it is started over now and then
}

// push is a deliver subject on n1, so that interest comes and goes with that node.
func push(name string) string { return "_INBOX.n1.push." + name }

// kinds are all sorts under limits and interest retention. Each run draws some; the
// first is in every one.
func kinds() []kind {
	return []kind{
		{name: "all", config: api.ConsumerConfig{AckWait: 3 * time.Second, MaxAckPending: 100}},
		{name: "some", config: api.ConsumerConfig{AckWait: 2 * time.Second, FilterSubject: "s.1"}},
		{name: "thrice", config: api.ConsumerConfig{AckWait: 2 * time.Second, FilterSubject: "s.2", MaxDeliver: 3}},
		{name: "pushed", config: api.ConsumerConfig{AckWait: 3 * time.Second, MaxAckPending: 50, DeliverSubject: push("pushed")}},
		{name: "two", config: api.ConsumerConfig{AckWait: 4 * time.Second, FilterSubjects: []string{"s.2", "s.3"}}},
		{name: "backoff", config: api.ConsumerConfig{
			FilterSubject: "s.0", MaxDeliver: 4, BackOff: []time.Duration{500 * time.Millisecond, time.Second, 3 * time.Second},
		}},
		{name: "upto", config: api.ConsumerConfig{AckPolicy: api.AckAll, AckWait: 2 * time.Second, MaxAckPending: 30}},
		{name: "uptopushed", config: api.ConsumerConfig{
			AckPolicy: api.AckAll, AckWait: 3 * time.Second, FilterSubject: "s.3", DeliverSubject: push("uptopushed"),
		}},
		{name: "none", config: api.ConsumerConfig{AckPolicy: api.AckNone, FilterSubject: "s.1"}},
		{name: "nonepushed", config: api.ConsumerConfig{AckPolicy: api.AckNone, DeliverSubject: push("nonepushed")}},
		{name: "flow", config: api.ConsumerConfig{
			AckPolicy: api.AckNone, MemoryStorage: true, FlowControl: true, Heartbeat: time.Second, DeliverSubject: push("flow"),
		}},
		{name: "headers", config: api.ConsumerConfig{AckWait: 2 * time.Second, HeadersOnly: true, FilterSubject: "s.2"}},
		{name: "prioritized", config: api.ConsumerConfig{
			AckWait: 2 * time.Second, PriorityPolicy: api.PriorityPrioritized, PriorityGroups: []string{"g"},
		}},
		{name: "pinned", config: api.ConsumerConfig{
			AckWait: 2 * time.Second, PriorityPolicy: api.PriorityPinned, PriorityGroups: []string{"g"}, PinnedTTL: 2 * time.Second,
			FilterSubject: "s.3",
		}},
		{name: "overflow", config: api.ConsumerConfig{
			AckWait: 2 * time.Second, PriorityPolicy: api.PriorityOverflow, PriorityGroups: []string{"g"}, FilterSubject: "s.0",
		}},
		{name: "again", resets: true, config: api.ConsumerConfig{AckWait: 2 * time.Second, FilterSubject: "s.1"}},
		{name: "brief", brief: true, config: api.ConsumerConfig{InactiveThreshold: briefThreshold, AckWait: 2 * time.Second}},
	}
}

// briefThreshold is how long an ephemeral consumer may go unused.
const briefThreshold = 5 * time.Second

// workers are those of a work queue: no two may want one message.
func workers() []kind {
	return []kind{
		{name: "w0", config: api.ConsumerConfig{AckWait: 2 * time.Second, FilterSubject: "s.0", MaxAckPending: 40}},
		{name: "w1", config: api.ConsumerConfig{AckWait: 2 * time.Second, FilterSubject: "s.1", MaxDeliver: 3}},
		{name: "w2", config: api.ConsumerConfig{AckWait: 3 * time.Second, FilterSubjects: []string{"s.2"}, DeliverSubject: push("w2")}},
		{name: "w3", config: api.ConsumerConfig{FilterSubject: "s.3", MaxDeliver: 4, BackOff: []time.Duration{time.Second, 2 * time.Second}}},
	}
}

// drawKinds draws the consumers of a run, in the order in which they are made.
func (w *world) drawKinds() []kind {
	if w.retention == api.WorkQueueRetention {
		return workers()
	}
	list := kinds()
	w.rand.Shuffle(len(list)-1, func(i, j int) { list[i+1], list[j+1] = list[j+1], list[i+1] })
	return list[:4+w.rand.IntN(4)]
}
