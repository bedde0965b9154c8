package cluster

import (
	"encoding/json"
	"reflect"
	"slices"

	"weir/internal/base"
)

// announcement is the body of frameInfo: what changed about the sender, and
// the nodes that it knows.
type announcement struct {
	Info  PeerInfo  `json:"info"`
	Peers []address `json:"peers,omitempty"`
}

// register makes l the link of its kind to its peer, or tells why not. It may
// wait for the end of a link that l replaces.
func (m *Mesh) register(l *link, h *hello) *refusal {
	for {
		old, r := m.tryRegister(l, h)
		if old == nil {
			return r
		}
		old.fail(errReplaced)
		if r != nil {
			return r
		}
		<-old.ended
	}
}

// tryRegister returns the link that is in the way, if it has to end. A decider
// knows its links, and takes another one only from a peer that was restarted;
// the other side does what the decider says.
func (m *Mesh) tryRegister(l *link, h *hello) (old *link, _ *refusal) {
	m.eventMu.Lock()
	defer m.eventMu.Unlock()
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return nil, refuseShutdown
	}
	p := m.peers[l.node]
	if p == nil {
		p = &peer{info: h.Info}
		m.peers[l.node] = p
	}
	if old := *p.slot(l.kind); old != nil {
		switch {
		case !m.decides(l.node):
			return old, nil
		case old.boot == l.boot:
			return nil, refuseDuplicate
		}
		return old, refuseRestarted
	}
	*p.slot(l.kind) = l
	for _, other := range [...]*link{p.data, p.raft} {
		if other != nil && other.boot != l.boot {
			other.fail(errReplaced)
		}
	}
	if l.kind == linkData {
		p.info = h.Info
		m.changeDataLinksLocked(func(links []*link) []*link { return append(links, l) })
	}
	return nil, nil
}

// unlink takes down what l stood for.
func (m *Mesh) unlink(l *link) {
	if l.kind == linkData {
		m.router.RemotePeerGone(l)
	}
	m.report(l.node, func(p *peer) {
		base.Assert(*p.slot(l.kind) == l, "the %s link to %s was replaced while it lived", l.kind, l.name)
		*p.slot(l.kind) = nil
		if l.kind == linkData {
			m.changeDataLinksLocked(func(links []*link) []*link {
				return slices.DeleteFunc(links, func(other *link) bool { return other == l })
			})
		}
	})
	if m.ctx.Err() == nil {
		m.cfg.Log.Noticef("Cluster %s link to %q ended: %v", l.kind, l.name, l.failure)
	}
	m.wakeTargets()
}

// started tells that a registered link works.
func (m *Mesh) started(l *link) {
	m.cfg.Log.Noticef("Cluster %s link to %q (%s) established", l.kind, l.name, l.conn.RemoteAddr())
	m.report(l.node, func(*peer) {})
}

// synced notes that the peer has told all its interest.
func (m *Mesh) synced(l *link) {
	m.report(l.node, func(*peer) { l.synced = true })
}

// report makes a change under both locks and tells the handler if by it the
// peer came up or went down.
func (m *Mesh) report(node base.NodeID, change func(p *peer)) {
	m.eventMu.Lock()
	m.mu.Lock()
	p := m.peers[node]
	change(p)
	was, info := p.up, p.info
	p.up = p.data != nil && p.data.synced && p.raft != nil && p.raft.boot == p.data.boot
	up := p.up
	if p.data == nil && p.raft == nil {
		delete(m.peers, node)
	}
	m.mu.Unlock()
	switch {
	case up && !was:
		m.handler.PeerUp(info)
	case !up && was:
		m.handler.PeerDown(node)
	}
	m.eventMu.Unlock()
	if up && !was {
		m.forgetPredecessors(info)
		m.learn([]address{{Node: info.Node, Name: info.Name, Addr: info.Addr}})
		m.announce()
	}
}

// announced takes what a peer says about itself and others.
func (m *Mesh) announced(l *link, a *announcement) {
	m.learn(a.Peers)
	m.eventMu.Lock()
	defer m.eventMu.Unlock()
	m.mu.Lock()
	p := m.peers[l.node]
	info := a.Info
	// What a link is identified by can not change while it stands.
	info.Node, info.ID, info.Name, info.Cluster = p.info.Node, p.info.ID, p.info.Name, p.info.Cluster
	info.Addr = reachable(info.Addr, l.conn)
	changed := !reflect.DeepEqual(info, p.info)
	p.info = info
	up := p.up
	m.mu.Unlock()
	if changed && up {
		m.handler.PeerUpdated(info)
	}
}

// Announce tells the peers what Config.ClientURLs returns now.
func (m *Mesh) Announce() { m.announce() }

// announce tells every peer about this node and the ones that it knows.
func (m *Mesh) announce() {
	body, err := json.Marshal(announcement{Info: m.Info(), Peers: m.addresses()})
	base.Assert(err == nil, "encoding an announcement: %v", err)
	frame := appendFrame(nil, frameInfo, body)
	for _, l := range *m.data.Load() {
		l.sendControl(frame)
	}
}

// addresses lists the peers that are up.
func (m *Mesh) addresses() []address {
	var list []address
	for _, info := range m.Peers() {
		list = append(list, address{Node: info.Node, Name: info.Name, Addr: info.Addr})
	}
	return list
}

// Interest hears of a change from the router and tells every peer.
func (m *Mesh) Interest(account, subject, queue string, count int) {
	links := *m.data.Load()
	if len(links) == 0 {
		return
	}
	frame := appendInterest(nil, account, subject, queue, count)
	for _, l := range links {
		l.sendControl(frame)
	}
}

// sendInterest tells a new peer all interest that stands; l hears of changes
// already.
func (l *link) sendInterest() {
	l.mesh.router.ReplayInterest(replay{l})
	l.replay(func(dst []byte) []byte { return appendFrame(dst, frameInterestDone, nil) })
}

// replay queues a part of what a link begins with, which is never too much.
func (l *link) replay(encode func(dst []byte) []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.failure != nil {
		return
	}
	before := len(l.pending)
	l.pending = encode(l.pending)
	l.replayed += len(l.pending) - before
	l.queuedLocked()
}

// replay is the listener for what stands.
type replay struct{ link *link }

func (r replay) Interest(account, subject, queue string, count int) {
	r.link.replay(func(dst []byte) []byte { return appendInterest(dst, account, subject, queue, count) })
}

func (m *Mesh) changeDataLinksLocked(change func([]*link) []*link) {
	links := change(slices.Clone(*m.data.Load()))
	m.data.Store(&links)
}
