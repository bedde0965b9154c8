package jsapi

import (
	"time"

	"weir/internal/api"
	"weir/internal/apierr"
	"weir/internal/msg"
)

// streamMsgGet answers $JS.API.STREAM.MSG.GET.<stream> on the stream's leader:
// one message as JSON. What was acknowledged before the request is seen, which direct
// gets do not promise. Batches are for direct gets only.
func (c *call) streamMsgGet() {
	var req api.StreamMsgGetRequest
	if !c.read(&req) {
		return
	}
	if !selects(&req) || req.Batch > 0 || req.MaxBytes > 0 || len(req.MultiFor) > 0 {
		c.fail(apierr.JSBadRequestErr)
		return
	}
	st := c.replica()
	if st == nil {
		return
	}
	if err := st.Confirm(); err != nil {
		c.svc.cfg.Logger.Debugf("JetStream API: %s: %v", c.Subject, err)
		c.fail(apierr.JSClusterNotAvailErr)
		return
	}
	var m msg.Message
	ok, err := loadMessage(st, &req, &m)
	switch {
	case err != nil:
		c.readFailed(st, err)
		return
	case !ok:
		c.fail(apierr.JSNoMessageFoundErr)
		return
	}
	found := &api.StoredMsg{Subject: m.Subject, Sequence: m.Seq, Data: m.Data, Time: time.Unix(0, m.Time).UTC()}
	if !req.NoHeaders {
		found.Header = m.Header
	}
	c.answer(api.StreamMsgGetResponse{Response: c.response(), Message: found})
}
