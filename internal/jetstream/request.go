package jetstream

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"slices"
	"strings"
	"sync"
	"time"

	"weir/internal/account"
	"weir/internal/api"
	"weir/internal/base"
	"weir/internal/meta"
	"weir/internal/router"
	"weir/internal/runner"
	"weir/internal/subject"
	"weir/internal/wire"
)

// Request is what a client sent to a JetStream subject, on its way to the node
// that answers it. The answer goes out over the router of that node.
//
// A request is forwarded straight from the client's node, on the link that also
// carries interest: so the answering node knows of the client's inbox before the
// request arrives. A node that is not the one to answer sends it back with the
// name of who is, instead of passing it on.
type Request struct {
	Account string
	Subject string
	Reply   string
	Header  []byte
	Body    []byte
	// Client is the JSON of who asked (api.ClientInfo); empty for acks and pulls.
	Client []byte
	// Origin is the node that the client is connected to.
	Origin base.NodeID
	// Hops counts how often the request was sent from node to node.
	Hops byte
	// Since is when the request arrived at its origin, by that node's clock; not
	// part of the wire format.
	Since time.Time
}

// maxHops ends a request that nodes send to and fro.
const maxHops = 8

// ClientInfo decodes who asked; nil when it was not said.
func (r *Request) ClientInfo() *api.ClientInfo {
	if len(r.Client) == 0 {
		return nil
	}
	info := new(api.ClientInfo)
	if json.Unmarshal(r.Client, info) != nil {
		return nil
	}
	return info
}

// encode appends the wire form: version, hops, origin, then six strings.
func (r *Request) encode(dst []byte) []byte {
	dst = append(dst, 1, r.Hops)
	dst = binary.LittleEndian.AppendUint64(dst, uint64(r.Origin))
	for _, s := range [...]string{r.Account, r.Subject, r.Reply} {
		dst = binary.AppendUvarint(dst, uint64(len(s)))
		dst = append(dst, s...)
	}
	for _, b := range [...][]byte{r.Header, r.Body, r.Client} {
		dst = binary.AppendUvarint(dst, uint64(len(b)))
		dst = append(dst, b...)
	}
	return dst
}

// decodeRequest reads the wire form; the request shares no memory with buf.
func decodeRequest(buf []byte) (*Request, error) {
	if len(buf) < 10 || buf[0] != 1 {
		return nil, errBadFrame
	}
	r := &Request{Hops: buf[1], Origin: base.NodeID(binary.LittleEndian.Uint64(buf[2:]))}
	buf = append([]byte(nil), buf[10:]...)
	var parts [6][]byte
	for i := range parts {
		n, used := binary.Uvarint(buf)
		if used <= 0 || n > uint64(len(buf)-used) {
			return nil, errBadFrame
		}
		parts[i], buf = buf[used:used+int(n)], buf[used+int(n):]
	}
	r.Account, r.Subject, r.Reply = string(parts[0]), string(parts[1]), string(parts[2])
	r.Header, r.Body, r.Client = emptyNil(parts[3]), emptyNil(parts[4]), emptyNil(parts[5])
	return r, nil
}

func emptyNil(b []byte) []byte {
	if len(b) == 0 {
		return nil
	}
	return b
}

// SetRequestHandler sets who takes requests that arrive at this node, from its
// own clients or forwarded. It must not block. Call it before Start.
func (n *Node) SetRequestHandler(h func(*Request)) { n.requests = h }

// Intercept takes the JetStream requests of the account's clients on this node.
func (n *Node) Intercept(acc *account.Account) error {
	for _, subj := range n.intercepts() {
		if _, err := n.cfg.Router.Subscribe(acc, subj, "", n.intercepted, router.SubOptions{Local: true}); err != nil {
			return err
		}
	}
	return nil
}

// Families are the first tokens of the API's subjects behind the prefix. Where they may name the domain these are
// taken one by one, as applications use the rest of that prefix: $JS.<domain>.API.$KV.>
func Families() []string {
	return []string{"INFO", "STREAM", "CONSUMER", "DIRECT", "META", "SERVER", "ACCOUNT"}
}

// intercepts are the subjects that Intercept takes. Of those that name the domain, it leaves what is not of the API to
// whoever wants it.
func (n *Node) intercepts() []string {
	subjects := []string{"$JS.API.>", "$JS.ACK.>", "$JS.FC.>"}
	if n.cfg.Domain != "" {
		for _, family := range Families() {
			subjects = append(subjects, n.domainPrefix()+family, n.domainPrefix()+family+".>")
		}
	}
	return subjects
}

// HasInterest tells whether a client would get what a consumer delivers to the subject; with a queue, one of
// that group. JetStream's own requests are no place to deliver to.
func (n *Node) HasInterest(acc *account.Account, subj, queue string) bool {
	if strings.HasPrefix(subj, "$JS.") && slices.ContainsFunc(n.intercepts(), func(own string) bool { return subject.Match(subj, own) }) {
		return false
	}
	if queue != "" {
		return n.cfg.Router.HasGroup(acc, subj, queue)
	}
	return n.cfg.Router.HasInterest(acc, subj)
}

// domainPrefix is what the API's subjects begin with when they name the domain.
func (n *Node) domainPrefix() string { return "$JS." + n.cfg.Domain + ".API." }

func (n *Node) intercepted(sub *router.Sub, from router.Source, m *router.Msg) {
	if imported := sub.Imported(m); (imported || from.Crossed()) && !n.concerned(sub.Account(), string(m.Subject), imported) {
		return
	}
	r := &Request{
		Account: sub.Account().Name(), Subject: string(m.Subject), Reply: string(m.Reply),
		Origin: n.cfg.Identity.Node, Since: n.cfg.Clock.Now(),
	}
	if n.cfg.Domain != "" {
		if rest, ok := strings.CutPrefix(r.Subject, n.domainPrefix()); ok {
			r.Subject = "$JS.API." + rest
		}
	}
	if len(m.Header) > 0 {
		r.Header = append([]byte(nil), wire.DelHeader(m.Header, router.RequestInfoHeader)...)
	}
	if len(m.Payload) > 0 {
		r.Body = append([]byte(nil), m.Payload...)
	}
	if c := from.Client(); c != nil && !n.hot(r.Subject) {
		r.Client = n.describe(c, r.Account)
	}
	n.requests(r)
}

// concerned tells whether a request that an import takes into another account, or
// has taken out of one, is for this account. Of the API it is where the import
// leads to. Acks and flow control replies may be imported by an account that has
// consumers of its own: they are for whom they name, or else for whichever has the stream.
func (n *Node) concerned(acc *account.Account, subj string, imported bool) bool {
	s, ok := runner.ReadSubject(subj)
	switch {
	case !ok || s.Consumer == "":
		return !imported
	case s.Scope != "":
		return s.Scope == runner.Scope(n.cfg.Domain, acc.Hash())
	}
	has := false
	n.View(func(st *meta.State) { has = st.Stream(acc.Name(), s.Stream) != nil })
	return has
}

// hot tells that a request is an ack or a pull, which carry no client info.
func (n *Node) hot(subj string) bool {
	return subj[:5] != "$JS.A" || subj[:6] == "$JS.AC" || strings.HasPrefix(subj, nextPrefix)
}

// describe is who sent a request to the account, in JSON.
func (n *Node) describe(c *router.ClientInfo, account string) []byte {
	info := DescribeClient(c)
	info.Server, info.Cluster = n.cfg.Name, n.cfg.Cluster
	if c.Account != account {
		info.Service = account
	}
	raw, err := json.Marshal(info)
	if err != nil {
		return nil
	}
	return raw
}

// DescribeClient is what is told of a client, but for its server.
func DescribeClient(c *router.ClientInfo) *api.ClientInfo {
	info := &api.ClientInfo{
		Host: c.Host, ID: c.ID, Account: c.Account, Service: c.Service, User: c.User, Name: c.Name, Lang: c.Lang,
		Version: c.Version, RTT: c.RTT, Kind: c.Kind, ClientType: c.ClientType,
	}
	if start := c.Start.UTC(); !start.IsZero() {
		info.Start = &start
	}
	return info
}

// ManyAnswers tells that a request may have more than one answer: a pull, or a
// direct get of several messages.
func ManyAnswers(subj, body []byte) bool {
	if bytes.HasPrefix(subj, []byte(nextPrefix)) {
		return true
	}
	stream, ok := bytes.CutPrefix(subj, []byte("$JS.API.DIRECT.GET."))
	return ok && !bytes.ContainsRune(stream, '.') && len(body) > 0
}

// Forward sends a request to the node that answers it. On the client's own node
// it goes straight there; elsewhere it goes back to the client's node, which
// sends it on.
func (n *Node) Forward(to base.NodeID, r *Request) error {
	if r.Hops++; r.Hops > maxHops {
		return errBadFrame
	}
	if r.Origin == n.cfg.Identity.Node {
		n.noteSent(to, r)
		return n.cfg.Links.SendRequest(to, frameRequest, r.encode(nil))
	}
	frame := binary.LittleEndian.AppendUint64(nil, uint64(to))
	return n.cfg.Links.SendRequest(r.Origin, frameRedirect, r.encode(frame))
}

// HandleFrame takes a frame that another node sent over the data link.
func (n *Node) HandleFrame(from base.NodeID, kind byte, frame []byte) {
	switch kind {
	case frameRequest:
		if r, err := decodeRequest(frame); err == nil {
			n.requests(r)
		}
	case frameRedirect:
		n.redirected(frame)
	case frameCall:
		n.called(from, frame)
	case frameReply:
		n.calls.reply(frame)
	case frameDeltas:
		n.takeDeltas(from, frame)
	}
}

func (n *Node) redirected(frame []byte) {
	if len(frame) < 8 {
		return
	}
	r, err := decodeRequest(frame[8:])
	if err != nil || r.Origin != n.cfg.Identity.Node {
		return
	}
	to := base.NodeID(binary.LittleEndian.Uint64(frame))
	if to == n.cfg.Identity.Node { // perhaps by a peer that is behind
		n.locations.forget(r.Account, r.Subject)
		n.requests(r)
		return
	}
	n.locations.learn(r.Account, r.Subject, to)
	if err := n.Forward(to, r); err != nil {
		n.cfg.Logger.Debugf("Forward %s: %v", r.Subject, err)
		n.requests(r) // where it waits
	}
}

// called answers a call on a goroutine of its own, as it may wait.
func (n *Node) called(from base.NodeID, frame []byte) {
	id, m, body, err := decodeCall(frame)
	if err != nil || n.ctx.Err() != nil {
		return
	}
	n.spawn(func() {
		ctx, cancel := context.WithTimeout(n.ctx, proposalTimeout)
		defer cancel()
		h := n.handlers[m]
		var answer []byte
		err := errBadFrame
		if h != nil {
			answer, err = h(ctx, from, body)
		}
		// A lost answer is the caller's time-out.
		_ = n.cfg.Links.SendRequest(from, frameReply, encodeReply(id, answer, err))
	})
}

// HandleRaft takes a Raft frame from another node.
func (n *Node) HandleRaft(from base.NodeID, frame []byte) { n.host.HandleFrame(from, frame) }

// PeerUp tells of a link to another node.
func (n *Node) PeerUp(p Peer) {
	n.mu.Lock()
	n.peers[p.Node] = p
	n.mu.Unlock()
	n.host.PeerUp(p.Node)
	n.greetWithStanding(p.Node)
	if p.JetStream {
		n.meet(p.Node)
	}
	n.linksChanged()
	n.balanceSoon()
}

// PeerDown tells that a link was lost.
func (n *Node) PeerDown(node base.NodeID) {
	n.mu.Lock()
	delete(n.peers, node)
	delete(n.strangers, node)
	n.mu.Unlock()
	n.forgetStanding(node)
	n.lostNode(node)
	n.host.PeerDown(node)
	n.linksChanged()
	n.endPulls(node)
	n.repeatAcks(node)
}

// linksChanged makes leaders look for runners that are gone, and runners whether
// they still hear from their group.
func (n *Node) linksChanged() {
	for _, s := range n.allStreams() {
		if s.lead.Load().Self {
			n.reconcile(s)
		}
		s.outbox.resend()
		s.wakeAll()
	}
}

// linked tells whether a node is this one or has a link to it.
func (n *Node) linked(node base.NodeID) bool {
	if node == n.cfg.Identity.Node {
		return true
	}
	n.mu.RLock()
	defer n.mu.RUnlock()
	_, ok := n.peers[node]
	return ok
}

// Peers are the other nodes with JetStream that there is a link to.
func (n *Node) Peers() []base.NodeID {
	n.mu.RLock()
	defer n.mu.RUnlock()
	var list []base.NodeID
	for id, p := range n.peers {
		if p.JetStream {
			list = append(list, id)
		}
	}
	return list
}

// locations remembers where requests were sent back to, so that the next one of
// its kind goes straight there. It is bounded and may be wrong: then a request
// is sent back once more.
type locations struct {
	mu   sync.Mutex
	node map[string]base.NodeID
}

const maxLocations = 64 << 10

// locationKey names what answers a request: a consumer's runner.
func locationKey(account, stream, consumer string) string {
	return account + "\x00" + stream + "\x00" + consumer
}

func (l *locations) learn(account, subj string, node base.NodeID) {
	stream, consumer, ok := ConsumerOf(subj)
	if !ok {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.node) >= maxLocations || l.node == nil {
		l.node = make(map[string]base.NodeID)
	}
	l.node[locationKey(account, stream, consumer)] = node
}

func (l *locations) forget(account, subj string) {
	if stream, consumer, ok := ConsumerOf(subj); ok {
		l.mu.Lock()
		defer l.mu.Unlock()
		delete(l.node, locationKey(account, stream, consumer))
	}
}

func (l *locations) find(account, stream, consumer string) base.NodeID {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.node[locationKey(account, stream, consumer)]
}
