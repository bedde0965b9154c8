package jsapi

import (
	"strconv"
	"strings"

	"weir/internal/account"
	"weir/internal/api"
	"weir/internal/apierr"
	"weir/internal/jetstream"
	"weir/internal/wire"
)

// class says which node answers a request.
type class byte

const (
	metaLeader     class = iota // decides about assignments
	streamLeader                // of the stream that the first argument names
	consumerRunner              // where the consumer of the first two arguments runs
	directReader                // the leader of that stream or of a mirror with mirror_direct
	everyNode                   // each for itself
)

// endpoint is one subject of the API.
type endpoint struct {
	// subject is a pattern behind "$JS.API.". Its wildcards are the arguments:
	// first the stream, then the consumer.
	subject string
	class   class
	// writes: requests about one stream are kept in order.
	writes bool
	// waits: the call may wait for other nodes or for a commit.
	waits bool
	// bodyFirst: what is wrong with the body comes before that the stream or consumer is
	// missing. On a server alone that is so for all.
	bodyFirst bool
	// clustered: refused by a server that is not in a cluster.
	clustered bool
	// system: only for the system account; others get no answer.
	system bool
	// response is the type of answers; failure makes the document of a failure, nil
	// an api.SuccessResponse.
	response string
	failure  func(api.Response) any
	handle   func(*call)

	args int  // wildcards in subject
	rest bool // the last of them takes all that is left
}

const (
	apiPrefix  = "$JS.API."
	nextPrefix = "$JS.API.CONSUMER.MSG.NEXT."
)

// endpoints has the subjects by their literal part.
var endpoints map[string][]*endpoint

func init() { endpoints = indexEndpoints(table()) }

func indexEndpoints(list []*endpoint) map[string][]*endpoint {
	index := make(map[string][]*endpoint, len(list))
	for _, e := range list {
		literal := e.subject
		if i := strings.IndexAny(literal, "*>"); i >= 0 {
			e.args = strings.Count(literal[i:], ".") + 1
			e.rest = strings.HasSuffix(literal, ">")
			literal = literal[:i-1]
		}
		index[literal] = append(index[literal], e)
	}
	return index
}

// find finds the endpoint of a subject and the arguments in it; nil when it is
// none.
func find(subj string) (*endpoint, []string) {
	rest, ok := strings.CutPrefix(subj, apiPrefix)
	if !ok {
		return nil, nil
	}
	for end := 0; end < len(rest); {
		i := strings.IndexByte(rest[end:], '.')
		if i < 0 {
			end = len(rest)
		} else {
			end += i
		}
		for _, e := range endpoints[rest[:end]] {
			if args, ok := e.match(rest[end:]); ok {
				return e, args
			}
		}
		end++
	}
	return nil, nil
}

// match splits what follows the literal part, either empty or from its dot on.
func (e *endpoint) match(tail string) (args []string, ok bool) {
	if e.args == 0 {
		return nil, tail == ""
	}
	if tail == "" {
		return nil, false
	}
	if e.rest {
		args = strings.SplitN(tail[1:], ".", e.args)
	} else {
		args = strings.Split(tail[1:], ".")
	}
	if len(args) != e.args {
		return nil, false
	}
	for _, a := range args {
		if a == "" {
			return nil, false
		}
	}
	return args, true
}

// queue is the queue that keeps the order that the endpoint asks for.
func (e *endpoint) queue(s *Service, c *call) chan<- func() {
	switch {
	case e.waits:
		return s.waiting
	case !e.writes:
		return s.readers
	}
	h := uint32(2166136261) // FNV-1a
	for _, part := range [...]string{c.Account, c.stream()} {
		for i := range len(part) {
			h = (h ^ uint32(part[i])) * 16777619
		}
	}
	return s.writers[h%uint32(len(s.writers))]
}

// call is one request being worked on.
type call struct {
	*jetstream.Request
	svc      *Service
	endpoint *endpoint
	acc      *account.Account
	args     []string
	waited   bool // held since it was last tried
	// absent is what replica answers with when the stream or consumer is missing; nil as long as that is not known.
	absent *apierr.Error
	// replyHeader is that of the answer; nil is none.
	replyHeader []byte
}

// newCall makes a call of a request; nil when nobody answers such a request.
func (s *Service) newCall(r *jetstream.Request) *call {
	e, args := find(r.Subject)
	acc := s.cfg.Accounts.Account(r.Account)
	if e == nil || acc == nil || r.Reply == "" || e.system && !acc.IsSystem() {
		return nil
	}
	return &call{Request: r, svc: s, endpoint: e, acc: acc, args: args}
}

// stream and consumer are those that the subject names; empty for none.
func (c *call) stream() string   { return c.arg(0) }
func (c *call) consumer() string { return c.arg(1) }

// replica is this node's of the stream that the subject names. Without one the request
// is held until there is, or refused as what it is about is missing, and the call is over.
func (c *call) replica() *jetstream.Stream {
	if c.absent != nil {
		c.fail(c.absent)
		return nil
	}
	st := c.svc.node.Stream(c.Account, c.stream())
	if st == nil {
		c.svc.hold(c.Request)
	}
	return st
}

func (c *call) arg(i int) string {
	if i < len(c.args) {
		return c.args[i]
	}
	return ""
}

// markerHeader is set on requests that the meta leader passes on to the stream's
// leader for the answer. It never leaves the nodes: what a client sets is taken
// off.
const markerHeader = "Weir-Answer"

func stripMarker(r *jetstream.Request) {
	if len(r.Header) > 0 {
		r.Header = wire.DelHeader(r.Header, markerHeader)
	}
}

// passedOn tells that the meta leader wants the stream's leader to answer.
func (c *call) passedOn() bool {
	if len(c.Header) == 0 {
		return false
	}
	_, ok := wire.GetHeader(c.Header, markerHeader)
	return ok
}

// levelTooHigh tells that the client requires an API level that is not served.
func levelTooHigh(r *jetstream.Request) bool {
	if len(r.Header) == 0 {
		return false
	}
	v, ok := wire.GetHeader(r.Header, "Nats-Required-Api-Level")
	if !ok {
		return false
	}
	level, err := strconv.Atoi(string(v))
	return len(v) > 0 && (err != nil || level > jetstream.APILevel)
}

// authorise is the error of a request that the account may not make.
func (c *call) authorise() *apierr.Error {
	switch {
	case c.acc.JetStream() == nil && !c.endpoint.system:
		return apierr.JSNotEnabledForAccountErr
	case levelTooHigh(c.Request):
		return apierr.JSRequiredApiLevelErr
	case c.endpoint.clustered && c.svc.cfg.Cluster == "":
		return apierr.JSClusterRequiredErr
	}
	return nil
}
