package conn

import (
	"bytes"
	"regexp"

	"weir/internal/router"
	"weir/internal/wire"
)

// tracer logs each operation of a client before the client handles it.
type tracer struct{ *client }

var _ wire.Handler = tracer{}

func (t tracer) in(format string, args ...any) { t.tracef("<<- "+format, args...) }

// secrets are the values of CONNECT that a log must not show.
var secrets = regexp.MustCompile(`("(?:pass|auth_token|jwt|sig)"\s*:\s*)"(?:[^"\\]|\\.)*"`)

func (t tracer) Connect(document []byte) error {
	t.in("[CONNECT %s]", secrets.ReplaceAll(document, []byte(`$1"[REDACTED]"`)))
	return t.client.Connect(document)
}

func (t tracer) Pub(m *wire.Msg) error {
	verb := "PUB"
	if len(m.Header) > 0 {
		verb = "HPUB"
	}
	t.in("[%s %s %s %d]", verb, m.Subject, m.Reply, len(m.Header)+len(m.Payload))
	t.in("MSG_PAYLOAD: [%q]", t.shown(m))
	return t.client.Pub(m)
}

func (t tracer) Sub(subj, queue, sid []byte) error {
	t.in("[SUB %s %s %s]", subj, queue, sid)
	return t.client.Sub(subj, queue, sid)
}

func (t tracer) Unsub(sid []byte, max int) error {
	t.in("[UNSUB %s %d]", sid, max)
	return t.client.Unsub(sid, max)
}

func (t tracer) Ping() error {
	t.in("[PING]")
	return t.client.Ping()
}

func (t tracer) Pong() error {
	t.in("[PONG]")
	return t.client.Pong()
}

// shown is the part of a message that a trace shows.
func (c *client) shown(m *wire.Msg) []byte {
	b := append(bytes.Clone(m.Header), m.Payload...)
	if n := c.server.cfg().MaxTracedLen; n > 0 && len(b) > n {
		return append(b[:n], "..."...)
	}
	return b
}

// traceText logs protocol text on its way to the client.
func (c *client) traceText(text []byte) {
	if c.server.cfg().Trace {
		c.tracef("->> [%s]", bytes.TrimSpace(text))
	}
}

// traceMsg logs a message on its way to the client.
func (c *client) traceMsg(sub *router.Sub, m *router.Msg) {
	if c.server.cfg().Trace {
		c.tracef("->> [MSG %s %s %s %d]", m.Subject, sub.SID, m.Reply, len(m.Header)+len(m.Payload))
	}
}
