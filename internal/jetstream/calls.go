package jetstream

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"time"

	"weir/internal/api"
	"weir/internal/base"
	"weir/internal/machine"
	"weir/internal/meta"
)

// callTimeout is how long a question to another node may take.
const callTimeout = 2 * time.Second

// ProposeMeta proposes a command to the meta group, through its leader.
func (n *Node) ProposeMeta(ctx context.Context, body meta.Body) (meta.Result, error) {
	g := n.meta.Load()
	if g == nil {
		return meta.Result{}, errNoMetaLeader
	}
	l := g.lead.Load()
	if l.Self {
		return g.propose(ctx, body)
	}
	if l.LeaderNode == 0 {
		return meta.Result{}, errNoMetaLeader
	}
	// Proposer, number and time are the leader's to set.
	if _, err := n.calls.call(ctx, l.LeaderNode, methodMeta, meta.Command{Body: body}.Encode()); err != nil {
		return meta.Result{}, err
	}
	return meta.Result{}, nil
}

// handleMeta proposes a command for another node. Only failures travel back.
func (n *Node) handleMeta(ctx context.Context, _ base.NodeID, body []byte) ([]byte, error) {
	cmd, err := meta.Decode(body)
	if err != nil {
		return nil, err
	}
	g := n.meta.Load()
	if g == nil || !g.leads() {
		return nil, errNoMetaLeader
	}
	r, err := g.propose(ctx, cmd.Body)
	if err == nil && r.Err != nil {
		err = r.Err
	}
	return nil, err
}

// groupCommand is a command for a stream's leader, from another node.
type groupCommand struct {
	Group base.GroupID           `json:"group"`
	Drop  machine.ConsumerDelete `json:"drop"`
}

// dropConsumer deletes a consumer that nobody used for its inactive threshold.
func (s *Stream) dropConsumer(name string, id uint64) {
	s.node.spawn(func() {
		ctx, cancel := context.WithTimeout(s.node.ctx, callTimeout)
		defer cancel()
		cmd := machine.ConsumerDelete{Name: name, ID: id}
		var err error
		if l := s.lead.Load(); l.Self {
			_, err = s.Propose(ctx, &cmd)
		} else {
			var raw []byte
			if raw, err = json.Marshal(groupCommand{Group: s.id, Drop: cmd}); err == nil {
				_, err = s.node.calls.call(ctx, l.LeaderNode, methodPropose, raw)
			}
		}
		if err != nil {
			// The runner asks again after another threshold.
			s.node.cfg.Logger.Debugf("Delete inactive consumer %s > %s: %v", s.name, name, err)
		}
	})
}

func (n *Node) handlePropose(ctx context.Context, _ base.NodeID, body []byte) ([]byte, error) {
	var c groupCommand
	if err := json.Unmarshal(body, &c); err != nil {
		return nil, err
	}
	s := n.streamByGroup(c.Group)
	if s == nil || !s.Leads() {
		return nil, fmt.Errorf("this node does not lead group %s", c.Group)
	}
	_, err := s.Propose(ctx, &c.Drop)
	return nil, err
}

// Usage is what the streams of an account hold.
type Usage struct {
	Memory    uint64 `json:"memory"`
	Storage   uint64 `json:"storage"`
	Streams   int    `json:"streams"`
	Consumers int    `json:"consumers"`
}

func (u *Usage) add(o Usage) {
	u.Memory += o.Memory
	u.Storage += o.Storage
	u.Streams += o.Streams
	u.Consumers += o.Consumers
}

// AccountUsage sums up what the account's streams hold, all replicas counted,
// over the nodes that answer in time.
func (n *Node) AccountUsage(ctx context.Context, account string) Usage {
	sum := n.localUsage(account)
	sum.add(n.useElsewhere(ctx, account))
	return sum
}

// localUsage counts the streams that this node leads.
func (n *Node) localUsage(account string) (u Usage) {
	for _, s := range n.allStreams() {
		if s.account != account || !s.lead.Load().Self {
			continue
		}
		bytes := s.store.Reader().State().Bytes * uint64(max(s.Assignment().Config.Replicas, 1))
		if s.memory {
			u.Memory += bytes
		} else {
			u.Storage += bytes
		}
		u.Streams++
		s.View(func(m *machine.Machine) { u.Consumers += n.counted(m) })
	}
	return u
}

// counted is how many of a stream's consumers an account has. As with the established server, a cluster
// leaves out those that mirrors and sources made.
func (n *Node) counted(m *machine.Machine) int {
	if n.cfg.Cluster == "" {
		return m.NumConsumers()
	}
	return m.NumListed()
}

func (n *Node) handleUsage(_ context.Context, _ base.NodeID, body []byte) ([]byte, error) {
	return json.Marshal(n.localUsage(string(body)))
}

// askAll calls all linked JetStream nodes at once and returns when all have
// answered or ctx ends.
func (n *Node) askAll(ctx context.Context, m method, body []byte, take func(base.NodeID, []byte)) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	var wg sync.WaitGroup
	for _, peer := range n.Peers() {
		wg.Go(func() {
			if answer, err := n.calls.call(ctx, peer, m, body); err == nil {
				take(peer, answer)
			}
		})
	}
	wg.Wait()
}

// detailRequest asks for the infos of the streams that a node leads.
type detailRequest struct {
	Account string   `json:"account"`
	Names   []string `json:"names"`
}

// StreamDetails gathers the infos of streams from their leaders, by name. Those
// whose leader does not answer are left out.
func (n *Node) StreamDetails(ctx context.Context, account string, names []string) map[string]*api.StreamInfo {
	req := detailRequest{Account: account, Names: names}
	found := n.localDetails(req)
	if len(found) == len(names) {
		return found
	}
	raw, err := json.Marshal(req)
	if err != nil {
		return found
	}
	var mu sync.Mutex
	n.askAll(ctx, methodDetail, raw, func(_ base.NodeID, answer []byte) {
		var part map[string]*api.StreamInfo
		if json.Unmarshal(answer, &part) != nil {
			return
		}
		mu.Lock()
		defer mu.Unlock()
		for name, info := range part {
			found[name] = info
		}
	})
	return found
}

func (n *Node) localDetails(req detailRequest) map[string]*api.StreamInfo {
	found := make(map[string]*api.StreamInfo)
	for _, name := range req.Names {
		if s := n.Stream(req.Account, name); s != nil && s.Ready() {
			found[name] = s.Info()
		}
	}
	return found
}

func (n *Node) handleDetail(_ context.Context, _ base.NodeID, body []byte) ([]byte, error) {
	var req detailRequest
	if err := json.Unmarshal(body, &req); err != nil {
		return nil, err
	}
	return json.Marshal(n.localDetails(req))
}
