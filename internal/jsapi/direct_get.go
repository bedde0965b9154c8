package jsapi

import (
	"encoding/json"
	"strconv"
	"time"

	"weir/internal/api"
	"weir/internal/jetstream"
	"weir/internal/msg"
	"weir/internal/wire"
)

// directGet answers $JS.API.DIRECT.GET.<stream>: messages as they are, with
// headers that say where they stand, or a status. The stream's leader answers,
// as it is never behind; while there is none, any replica. So does the leader of a
// mirror with mirror_direct, from what the mirror holds: see Node.DirectReader. A
// stream without allow_direct or such a mirror is as one that does not exist:
// nobody responds.
func (c *call) directGet() {
	st := c.directStream()
	if st == nil {
		return
	}
	var req api.StreamMsgGetRequest
	if len(c.Body) > 0 && json.Unmarshal(c.Body, &req) != nil {
		c.status(408, "Malformed Request")
		return
	}
	switch {
	case len(req.MultiFor) > 0:
		c.directLast(st, &req)
	case req.Seq == 0 && req.LastFor == "" && req.NextFor == "" && req.StartTime == nil:
		c.status(408, "Empty Request")
	case !selects(&req) || req.Batch > 0 && req.LastFor != "":
		c.status(408, "Bad Request")
	case req.Batch != 0:
		c.directBatch(st, &req)
	default:
		c.directOne(st, &req)
	}
}

// directGetLast answers $JS.API.DIRECT.GET.<stream>.<subject>: the last message of
// the subject.
func (c *call) directGetLast() {
	st := c.directStream()
	switch {
	case st == nil:
	case len(c.Body) > 0:
		c.status(408, "Bad Request")
	default:
		c.directOne(st, &api.StreamMsgGetRequest{LastFor: c.arg(1)})
	}
}

// directStream is the replica to read from; nil when the call is dealt with.
func (c *call) directStream() *jetstream.Stream {
	if st := c.svc.node.DirectReplica(c.Account, c.stream()); st != nil {
		return st
	}
	if st := c.replica(); st == nil {
		return nil
	} else if st.AllowsDirect() {
		c.svc.hold(c.Request)
		return nil
	}
	c.svc.noResponders(c.Request)
	return nil
}

func (c *call) directOne(st *jetstream.Stream, req *api.StreamMsgGetRequest) {
	var m msg.Message
	ok, err := loadMessage(st, req, &m)
	switch {
	case err != nil:
		c.directFailed(st, err)
	case !ok:
		c.status(404, "Message Not Found")
	default:
		c.sendDirect(st, req, &m, nil)
	}
}

// directFailed ends a request that met an error of the store: as of a replica
// that is not there.
func (c *call) directFailed(st *jetstream.Stream, err error) {
	st.NoteDamage(err)
	c.svc.cfg.Logger.Errorf("JetStream direct get from %s > %s: %v", c.Account, st.Name(), err)
	c.status(500, "Internal Error")
}

// batchPlace says where a message stands in a batch.
type batchPlace struct {
	pending uint64 // messages that match and were not yet sent
	last    uint64 // sequence of the message before; 0 for the first
}

func (c *call) sendDirect(st *jetstream.Stream, req *api.StreamMsgGetRequest, m *msg.Message, at *batchPlace) {
	if req.NoHeaders {
		c.publish(nil, m.Data)
		return
	}
	pairs := []string{
		"Nats-Stream", st.Name(),
		"Nats-Subject", m.Subject,
		"Nats-Sequence", strconv.FormatUint(m.Seq, 10),
		"Nats-Time-Stamp", time.Unix(0, m.Time).UTC().Format(time.RFC3339Nano),
	}
	if at != nil {
		pairs = append(pairs, at.headers()...)
	}
	c.publish(joinHeader(m.Header, pairs), m.Data)
}

func (p *batchPlace) headers() []string {
	return []string{
		"Nats-Num-Pending", strconv.FormatUint(p.pending, 10),
		"Nats-Last-Sequence", strconv.FormatUint(p.last, 10),
	}
}

// joinHeader is a block with more headers at the end.
func joinHeader(hdr []byte, pairs []string) []byte {
	more := wire.HeaderBlock(pairs...)
	if len(hdr) == 0 {
		return more
	}
	const first, end = "NATS/1.0\r\n", "\r\n"
	joined := make([]byte, 0, len(hdr)+len(more))
	joined = append(joined, hdr[:len(hdr)-len(end)]...)
	return append(joined, more[len(first):]...)
}
