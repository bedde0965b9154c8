package jetstream

import (
	"context"
	"encoding/json"
	"fmt"

	"weir/internal/base"
)

// locateRequest asks a node where a consumer runs; its answer is that node, or one that
// knows better.
type locateRequest struct {
	Account  string `json:"account"`
	Stream   string `json:"stream"`
	Consumer string `json:"consumer"`
}

// KnowsRunner tells whether there is nothing to ask about where a consumer runs: this
// node has a replica of its stream, was told before, or nobody else has one either.
func (n *Node) KnowsRunner(account, stream, consumer string) bool {
	if n.Stream(account, stream) != nil {
		return true
	}
	known := n.locations.find(account, stream, consumer)
	at := n.memberOf(account, stream, known).Node
	return at == 0 || at == known
}

// FindRunner asks a node with a replica of a stream where a consumer runs, and calls
// done when it was told or can not be.
func (n *Node) FindRunner(account, stream, consumer string, done func()) {
	n.spawn(func() {
		defer done()
		ctx, cancel := context.WithTimeout(n.ctx, callTimeout)
		defer cancel()
		raw, err := json.Marshal(locateRequest{account, stream, consumer})
		base.Assert(err == nil, "a locate request can not be encoded: %v", err)
		raw, err = n.calls.call(ctx, n.memberOf(account, stream, 0).Node, methodLocate, raw)
		var at base.NodeID
		if err == nil {
			err = json.Unmarshal(raw, &at)
		}
		if err != nil {
			n.cfg.Logger.Debugf("Locate consumer %s > %s > %s: %v", account, stream, consumer, err)
			return
		}
		n.locations.learn(account, nextPrefix+stream+"."+consumer, at)
	})
}

func (n *Node) handleLocate(_ context.Context, _ base.NodeID, body []byte) ([]byte, error) {
	var r locateRequest
	if err := json.Unmarshal(body, &r); err != nil {
		return nil, err
	}
	switch p := n.ConsumerRunner(r.Account, r.Stream, r.Consumer); {
	case p.Here:
		return json.Marshal(n.cfg.Identity.Node)
	case p.Node != 0:
		return json.Marshal(p.Node)
	}
	return nil, fmt.Errorf("consumer %s > %s > %s is not known to run", r.Account, r.Stream, r.Consumer)
}
