package conformance

import (
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// kind is a way to consume.
type kind struct {
	name  string
	shape func(*follower) // completes an explicitly acked pull consumer
}

// pushKind is the place of the plain push consumer in kinds.
const pushKind = 4

// kinds are shared out among the consumers of TestConsumersUnderFaults in turn. Their
// number has no divisor in common with the streams' shares, so that each meets each.
var kinds = []kind{
	{"pull", func(*follower) {}},
	{"naks", func(f *follower) { f.naks = 5 }},
	{"limit", func(f *follower) { f.cfg.MaxDeliver, f.naks = 5, 7 }},
	{"ackall", func(f *follower) { f.cfg.AckPolicy = ackAllOf(f) }},
	{"push", func(f *follower) { pushTo(f) }},
	{"queue", func(f *follower) { pushTo(f); f.cfg.DeliverGroup = "q" }},
	{"flow", func(f *follower) { pushTo(f); f.cfg.FlowControl, f.cfg.IdleHeartbeat = true, time.Second }},
	{"none", func(f *follower) { f.cfg.AckPolicy = jetstream.AckNonePolicy }},
	{"overflow", func(f *follower) { group(f, jetstream.PriorityPolicyOverflow, "") }},
	{"pinned", func(f *follower) {
		group(f, jetstream.PriorityPolicyPinned, "")
		f.cfg.PinnedTTL = 5 * time.Second
	}},
	{"prioritized", func(f *follower) { group(f, jetstream.PriorityPolicyPrioritized, `,"priority":1`) }},
	{"backoff", func(f *follower) {
		f.cfg.BackOff, f.cfg.MaxDeliver, f.cfg.AckWait = []time.Duration{time.Second, 2 * time.Second}, 10, 0
		f.naks = 6
	}},
	{"small", func(f *follower) { f.cfg.MaxAckPending, f.cfg.MaxWaiting = 3, 8 }},
	{"headers", func(f *follower) { f.cfg.HeadersOnly, f.cfg.MemoryStorage = true, true }},
	{"lone", func(f *follower) { f.cfg.Replicas = 1 }},
}

// ackAllOf is ack all, where the stream allows it.
func ackAllOf(f *follower) jetstream.AckPolicy {
	if f.stream == "WORKS" {
		return jetstream.AckExplicitPolicy
	}
	return jetstream.AckAllPolicy
}

func pushTo(f *follower) {
	f.cfg.DeliverSubject = "deliver." + f.cfg.Durable
	f.cfg.MaxAckPending = 100
}

func group(f *follower, policy jetstream.PriorityPolicy, more string) {
	f.cfg.PriorityGroups, f.cfg.PriorityPolicy = []string{"g"}, policy
	f.pull = fmt.Sprintf(`,"group":"g"%s`, more)
}
