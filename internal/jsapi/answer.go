package jsapi

import (
	"encoding/json"
	"errors"
	"maps"
	"strconv"
	"sync"
	"sync/atomic"

	"weir/internal/api"
	"weir/internal/apierr"
	"weir/internal/jetstream"
	"weir/internal/machine"
	"weir/internal/rafthost"
	"weir/internal/router"
	"weir/internal/wire"
)

// answer sends the document of a success.
func (c *call) answer(doc any) {
	c.svc.stats.of(c.Account).total.Add(1)
	c.respond(doc)
}

// fail sends an error in the document of the call's type.
func (c *call) fail(err *apierr.Error) {
	if c.endpoint.response == "" {
		c.failStatus(err)
		return
	}
	c.countFailure()
	c.replyHeader = nil
	r := api.Fail(c.endpoint.response, err)
	if c.acc.IsSystem() && err == apierr.JSNotEnabledForAccountErr && c.endpoint.subject != "INFO" {
		r.Type = systemResponseType
		c.respond(r)
		return
	}
	if c.endpoint.failure == nil {
		c.respond(api.SuccessResponse{Response: r})
		return
	}
	c.respond(c.endpoint.failure(r))
}

func (c *call) countFailure() {
	counts := c.svc.stats.of(c.Account)
	counts.total.Add(1)
	counts.errors.Add(1)
}

// systemResponseType is the type of answers to the system account, which has no
// streams.
const systemResponseType = "io.nats.jetstream.api.v1.system_response"

// failStatus answers a direct get that failed before it was looked at.
func (c *call) failStatus(err *apierr.Error) {
	if err == apierr.JSRequiredApiLevelErr {
		c.status(412, "Required Api Level")
		return
	}
	c.svc.noResponders(c.Request)
}

// status answers with a status header.
func (c *call) status(code int, text string, pairs ...string) {
	c.svc.status(c.Request, wire.StatusBlock(code, text, pairs...))
}

// ok answers a request that only succeeds or fails.
func (c *call) ok() {
	c.answer(api.SuccessResponse{Response: c.response(), Success: true})
}

// done answers by the error, or success without one.
func (c *call) done(err *apierr.Error) {
	if err != nil {
		c.fail(err)
		return
	}
	c.ok()
}

// response is the envelope of a success.
func (c *call) response() api.Response { return api.Response{Type: c.endpoint.response} }

func (c *call) respond(doc any) {
	body, err := json.Marshal(doc)
	if err != nil {
		c.svc.cfg.Logger.Errorf("JetStream API: answer to %s can not be encoded: %v", c.Subject, err)
		return
	}
	c.publish(c.replyHeader, body)
	c.audit(body)
}

func (c *call) publish(header, body []byte) {
	if c.Reply == "" {
		return
	}
	c.svc.cfg.Router.Publish(c.acc, router.Internal, &router.Msg{Subject: []byte(c.Reply), Header: header, Payload: body})
}

// propose has the stream's group apply a command and gives its result to done on
// a worker. A command that never made it is tried again with the leader; one
// whose fate is unknown is the client's to ask for again.
func (c *call) propose(st *jetstream.Stream, cmd machine.Command, done func(machine.Reply)) {
	c.proposeTurn(st, cmd, done, func() {})
}

// proposeTurn is propose; over is called whatever came of the command, after done.
func (c *call) proposeTurn(st *jetstream.Stream, cmd machine.Command, done func(machine.Reply), over func()) {
	err := st.ProposeFunc(cmd, func(r machine.Reply, err error) {
		if err != nil {
			c.svc.cfg.Logger.Debugf("JetStream API: %s: %v", c.Subject, err)
			c.svc.later(over)
			return
		}
		c.svc.later(func() {
			done(r)
			over()
		})
	})
	if err != nil {
		defer over()
	}
	switch {
	case err == nil:
	case errors.Is(err, rafthost.ErrOverloaded):
		c.fail(apierr.JSStreamTooManyRequests)
	default:
		c.svc.hold(c.Request)
	}
}

// withVersion is metadata with what answers add: never stored.
func withVersion(from map[string]string) map[string]string {
	m := maps.Clone(from)
	if m == nil {
		m = make(map[string]string, 2)
	}
	m[api.MetadataLevel] = strconv.Itoa(jetstream.APILevel)
	m[api.MetadataVersion] = wire.ServerVersion
	return m
}

// stats counts the answers that this node gave, by account.
type stats struct{ accounts sync.Map } // string → *counts

type counts struct{ total, errors atomic.Uint64 }

func (s *stats) of(account string) *counts {
	if c, ok := s.accounts.Load(account); ok {
		return c.(*counts)
	}
	c, _ := s.accounts.LoadOrStore(account, new(counts))
	return c.(*counts)
}

// Stats counts the requests that this node answered, of one account or, with "",
// of all.
func (s *Service) Stats(account string) api.APIStats {
	sum := api.APIStats{Level: jetstream.APILevel}
	s.stats.accounts.Range(func(name, c any) bool {
		if account == "" || account == name {
			sum.Total += c.(*counts).total.Load()
			sum.Errors += c.(*counts).errors.Load()
		}
		return true
	})
	return sum
}
