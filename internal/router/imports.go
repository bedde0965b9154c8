package router

import (
	"bytes"

	"weir/internal/account"
	"weir/internal/base"
	"weir/internal/subject"
	"weir/internal/wire"
)

// # Imports
//
// Accounts meet in two ways, both made of subscriptions, so that what matches a
// subject is found as ever and costs nothing where nothing is imported.
//
// A stream import acts when somebody subscribes: a subscription that covers
// imported subjects gets a shadow in the exporting account, under the subjects
// there. Shadows are interest like any other, so other nodes hear of them, and
// queue groups of one name share the messages whatever their accounts. Shadows
// have no shadows: what an account imports it does not pass on.
//
// A service import acts when somebody publishes: a subscription in the importing
// account sends what it gets into the exporting one. It is Local, since the node
// where a request enters takes it across, and only once. A reply subject does not
// mean anything over there, so the request gets another one, under which this node
// listens in the exporting account; see replies.

// ImportEnv is what imports need of the server.
type ImportEnv struct {
	Clock base.Clock
	// Describe is the JSON of who sent a request, for the service.
	Describe func(*ClientInfo) []byte
	// Many tells that a request may have many answers whatever its export says,
	// none of which is the last one unless it is a status.
	Many func(subject, body []byte) bool
	// Tail is the end of a reply subject that means something to the service, nil for
	// most. It stays, and there may be many answers.
	Tail func(reply []byte) []byte
}

// RequestInfoHeader tells a service who sent the request.
const RequestInfoHeader = "Nats-Request-Info"

// maxCrossings bounds the accounts that a message passes through.
const maxCrossings = 16

// importing is the imports of services.
type importing struct {
	env     ImportEnv
	replies replies
}

// ServeImports carries out the service imports of accounts. Call it once, before
// anybody publishes.
func (r *Router) ServeImports(accounts []*account.Account, env ImportEnv) error {
	r.importing = &importing{env: env}
	r.importing.replies.init(env.Clock, &r.random)
	answers := map[*account.Account]bool{}
	for _, acc := range accounts {
		for _, im := range acc.ServiceImports() {
			s := &Sub{Subject: im.Mapping.From(), local: true, service: im}
			if err := r.insert(acc, s); err != nil {
				return err
			}
			s.space.services = append(s.space.services, s.Subject)
			answers[acc], answers[im.From] = true, true
		}
	}
	for acc := range answers {
		if _, err := r.Subscribe(acc, r.importing.replies.prefix+">", "", r.answered, SubOptions{}); err != nil {
			return err
		}
	}
	return nil
}

// Imported tells whether the subscription's account imports a service under the
// subject of m. The server's own services leave such requests to the import.
func (s *Sub) Imported(m *Msg) bool { return s.space.imports(m.Route()) }

// Imports tells whether the account imports a service under a literal subject.
func (r *Router) Imports(acc *account.Account, literal string) bool {
	return r.space(acc).imports([]byte(literal))
}

// Service is the account in which a request of an account arrives, its own or the
// last one that imports lead to, and the subject there.
func (r *Router) Service(acc *account.Account, literal string) (*account.Account, string) {
	for range maxCrossings {
		im, there := importOf(acc, literal)
		if im == nil {
			break
		}
		acc, literal = im.From, there
	}
	return acc, literal
}

func importOf(acc *account.Account, literal string) (im *account.ServiceImport, there string) {
	for _, im := range acc.ServiceImports() {
		if there, ok := im.Mapping.Apply(literal); ok {
			return im, there
		}
	}
	return nil, ""
}

func (sp *space) imports(literal []byte) bool {
	for _, pattern := range sp.services {
		if subject.MatchBytes(literal, pattern) {
			return true
		}
	}
	return false
}

// shadowLocked gives a subscription its shadows. The caller holds interestMu.
func (r *Router) shadowLocked(s *Sub) {
	for _, im := range s.acc.StreamImports() {
		origin, ok := im.Mapping.Origin(s.Subject)
		if !ok {
			continue
		}
		shadow := &Sub{Subject: origin, Queue: s.Queue, of: s, stream: im, acc: im.From, space: r.space(im.From)}
		s.shadows = append(s.shadows, shadow)
		shadow.space.local.Insert(shadow.Subject, shadow.Queue, shadow)
		r.changeInterestLocked(shadow, +1)
	}
}

// unshadowLocked removes them.
func (r *Router) unshadowLocked(s *Sub) {
	for _, shadow := range s.shadows {
		shadow.closed.Store(true)
		shadow.space.local.Remove(shadow.Subject, shadow.Queue, shadow)
		r.changeInterestLocked(shadow, -1)
	}
}

// mapped is m under the subject that its own is mapped to.
func mapped(mapping *subject.Mapping, m *Msg) (Msg, bool) {
	out := *m
	to, ok := mapping.Apply(string(m.Route()))
	if len(m.To) > 0 {
		out.To = []byte(to)
	} else {
		out.Subject = []byte(to)
	}
	return out, ok
}

// Map puts m under the subject that the account maps its own to. False: it is to
// be dropped.
func Map(acc *account.Account, m *Msg) bool {
	if !acc.Maps(m.Route()) {
		return true
	}
	to, ok := acc.MapSubject(string(m.Route()))
	if len(m.To) > 0 {
		m.To = []byte(to)
	} else {
		m.Subject = []byte(to)
	}
	return ok
}

// deliverShadow hands m to the subscription that a shadow is of.
func (r *Router) deliverShadow(s *Sub, from *Source, m *Msg) bool {
	out, ok := mapped(s.stream.Mapping, m)
	if !ok {
		return false
	}
	if from.trace != nil {
		from.trace.exported(s.of.acc.Name(), string(out.Route()))
		if from.trace.only {
			return true
		}
		untraced := from.Traced(nil)
		from = &untraced
	}
	return r.deliver(s.of, from, &out)
}

// request takes m into the account whose service it is meant for. False: nobody
// is there.
func (r *Router) request(s *Sub, from *Source, m *Msg) bool {
	if from.crossings >= maxCrossings {
		return false
	}
	out, ok := mapped(s.service.Mapping, m)
	if !ok {
		return false
	}
	if !Map(s.service.From, &out) {
		return true
	}
	if from.trace != nil {
		from.trace.requested(s.service.From.Name(), string(m.Route()), string(out.Route()))
		if from.trace.only {
			return true
		}
	}
	across := from.Traced(nil)
	across.crossings++
	across.info = requestor(s, from)
	out.Header = wire.SetHeader(WithoutTrace(m.Header), RequestInfoHeader, string(r.importing.env.Describe(across.info)))
	var name string
	if len(m.Reply) > 0 {
		e := &replyRoute{in: s.service.From, to: s.acc, subject: string(m.Reply), many: s.service.Many, threshold: s.service.Threshold}
		if r.importing.env.Many(out.Route(), m.Payload) {
			e.many, e.untilStatus = true, true
		}
		if tail := r.importing.env.Tail(m.Reply); tail != nil {
			e.many, e.tail = true, string(tail)
		}
		name = r.importing.replies.add(e)
		out.Reply = []byte(name)
	}
	delivered := r.route(r.space(s.service.From), &across, &out)
	if delivered == 0 && name != "" {
		r.importing.replies.drop(name)
	}
	return delivered > 0
}

// requestor says who sent a request, as far as a service may know.
func requestor(s *Sub, from *Source) *ClientInfo {
	if from.info != nil { // it crossed before
		info := *from.info
		info.Service = s.acc.Name()
		return &info
	}
	c := from.Client()
	switch {
	case c == nil:
		return &ClientInfo{Account: s.acc.Name()}
	case s.service.Share:
		return c
	}
	return &ClientInfo{Account: c.Account, RTT: c.RTT}
}

// answered takes an answer of a service to whoever asked.
func (r *Router) answered(sub *Sub, from Source, m *Msg) {
	if from.crossings >= maxCrossings {
		return
	}
	name := string(m.Route())
	e, ok := r.importing.replies.use(name, sub.acc, m)
	if !ok {
		return
	}
	out := *m
	if len(m.To) > 0 {
		out.To = []byte(e.subject)
	} else {
		out.Subject = []byte(e.subject)
	}
	if len(m.Reply) > 0 && !bytes.HasPrefix(m.Reply, []byte("$JS.")) {
		// An answer that wants an answer goes the other way.
		out.Reply = []byte(r.importing.replies.add(&replyRoute{in: e.to, to: e.in, subject: string(m.Reply), threshold: e.threshold}))
	}
	across := Source{batch: from.batch, crossings: from.crossings + 1}
	if r.route(r.space(e.to), &across, &out) == 0 {
		r.importing.replies.drop(name) // nobody waits any more
	}
}
