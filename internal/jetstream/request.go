package jetstream

import (
	"encoding/binary"
	"encoding/json"
	"time"

	"weir/internal/api"
	"weir/internal/base"
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
	// Since is when the request arrived at this node, which is not part of the wire
	// format, and Age how old it was then.
	Since time.Time
	Age   time.Duration
}

// A request that nodes send to and fro, as one of them is behind the others, rests at its
// origin after maxHops, and is sent again from there until it is toAndFro old.
const (
	maxHops  = 8
	toAndFro = 4 * time.Second
)

// age is how old the request is.
func (r *Request) age(now time.Time) time.Duration {
	if r.Since.IsZero() {
		return r.Age
	}
	return r.Age + now.Sub(r.Since)
}

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

// encode appends the wire form: version, hops, origin, six strings, and the age in ms,
// which older nodes do not read.
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
	return binary.AppendUvarint(dst, uint64(max(r.Age, 0)/time.Millisecond))
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
	ms, _ := binary.Uvarint(buf) // 0 where there is none
	r.Age = time.Duration(min(ms, uint64(time.Hour/time.Millisecond))) * time.Millisecond
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

// Forward sends a request to the node that answers it. On the client's own node
// it goes straight there; elsewhere it goes back to the client's node, which
// sends it on.
func (n *Node) Forward(to base.NodeID, r *Request) error {
	now := n.cfg.Clock.Now()
	origin := r.Origin == n.cfg.Identity.Node
	if r.Hops++; r.Hops > maxHops {
		if origin && r.age(now) < toAndFro {
			r.Hops = maxHops / 2 // when it has rested
		}
		return errToAndFro
	}
	sent := *r
	sent.Age = r.age(now)
	if origin {
		n.noteSent(to, r)
		return n.cfg.Links.SendRequest(to, frameRequest, sent.encode(nil))
	}
	frame := binary.LittleEndian.AppendUint64(nil, uint64(to))
	return n.cfg.Links.SendRequest(r.Origin, frameRedirect, sent.encode(frame))
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
