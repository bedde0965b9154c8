package router

import "weir/internal/base"

// Remote is one connected node of the cluster. Implementations are comparable
// (pointers).
type Remote interface {
	Flusher
	// Node is the identity of the peer.
	Node() base.NodeID
	// Deliver forwards a message, once per peer. queues names the queue groups
	// of which the sender picked a member on that peer; the peer serves them
	// and its plain subscriptions. It must not block, must copy what it keeps
	// of m and queues, and has to see to it that the message leaves soon. With a
	// batch it registers the peer there, so that a publisher hears when the peer
	// falls behind.
	Deliver(account string, b *Batch, m *Msg, queues []string)
}

// InterestListener hears about the subscriptions that other nodes have to know
// of. For a plain subject it is called with count 1 when the first one appears
// and with 0 when the last one is gone; for a queue group at every change of
// the number of members. Calls are ordered and made under the router's interest
// lock: the listener must not block, nor call the router.
type InterestListener interface {
	Interest(account, subject, queue string, count int)
}
