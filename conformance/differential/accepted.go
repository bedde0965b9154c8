package differential

import (
	"encoding/json"
	"strings"

	"github.com/nats-io/nats.go"
)

// accepted tells whether answers differ on purpose. docs/conformance.md has the
// reasons.
func (p *Pair) accepted(s *step, weir, nats *answer) bool {
	w, n := failure(weir), failure(nats)
	switch {
	case w == badJSON && n == badJSON:
		// What follows "invalid JSON:" names the types of the program.
		return true
	case w == streamNotFound && (n == badRequest || n == badJSON || n == streamMismatch || strings.HasPrefix(s.subject, "$JS.API.CONSUMER.LIST.")):
		// What comes first, to look at the body or for the stream, depends on the request
		// and on whether there is a cluster. Here it is the stream.
		return true
	case p.Lag > 0 && (w != 0 || duplicate(weir)) && (n != 0 || duplicate(nats)) && !strings.HasPrefix(s.subject, "$JS.API."):
		// Of several faults of a message, a replicated stream may name another.
		return true
	case p.Lag > 0 && weir.err == "no answer" && nats.err == "no responders":
		// The other nodes may not have heard yet that the stream is gone.
		return true
	case p.Lag > 0 && nats.err == "no answer" && len(weir.msgs) > 0 && !strings.HasPrefix(s.subject, "$JS.API."):
		// A stream loses what comes just after an update that gave it a placement.
		return true
	case nats.err == "no answer" && (w == streamNotFound || w == consumerNotFound || w == noPeers):
		// It is silent if a stream to be backed up or a consumer to be reset does not
		// exist, and if a preferred leader does not.
		return true
	case w == noPeers && n == noPeers:
		// Weir says which tags are not there.
		return true
	case s.subject == "$JS.API.STREAM.LIST" && strings.Contains(s.body, "offset") && pastTheEnd(weir) && pastTheEnd(nats):
		// A cluster counts no streams behind the last page.
		return true
	case w == badConfig && n != badConfig && strings.Contains(s.body, `"allow_msg_counter":true`) && strings.Contains(s.body, `"subject_delete_marker_ttl"`):
		// It takes a counter with delete markers, and does not find it again after a restart.
		return true
	case p.Lag == 0 && s.as == systemUser && w == noCluster && nats.err == "no answer":
		// A server alone is silent where a cluster is asked for.
		return true
	case w == levelRequired && (n == streamNotFound || n == badJSON || n == badRequest):
		return true
	case w == badConfig && n == noMemory, (w == badConfig || w == maxBytesRequired || w == maxBytesExceeded) && n == tooManyStreams:
		// It looks at what an account may have before the rest.
		return true
	case s.as != systemUser && weir.err != "" && strings.HasPrefix(s.subject, "$JS.API.ACCOUNT.STREAM."):
		// Any account may move the streams of all others.
		return true
	case s.as == systemUser && w == badRequest && n == noPeers:
		// A move to nowhere in particular.
		return true
	case w == consumerNotFound && n == badJSON:
		// As for streams: here the consumer is looked for first.
		return true
	case p.Lag > 0 && weir.err == "no responders" && nats.err == "no answer":
		// The other nodes have not heard yet that the stream is gone.
		return true
	case w == badScheduler && n == 0:
		// A message may hold a schedule and end another.
		return true
	case w == badFilter:
		// It may take the filter of a source, and copies nothing.
		return true
	case strings.HasPrefix(s.subject, "$JS.API.DIRECT.") && s.header != nil && nats.err == "no responders":
		return true
	case s.reads() && w == 0 && wildcardLast(s) && (n == noMessage || status(nats) == "404"):
		// Its index of last messages can miss one after a purge.
		return true
	case strings.Contains(s.body, `"no_hdr":true`) && s.many():
		// ADR-52: no message of a batch has headers.
		return true
	case strings.Contains(s.body, `"up_to_seq"`) && status(nats) == "404" && status(weir) != "404":
		// A bound behind the last message is none.
		return true
	}
	return false
}

// apart tells whether a change was made by one server only, so that what follows can
// not be compared.
func apart(s *step, weir, nats *answer) bool {
	if nats.err == "no answer" && failure(weir) == 0 && !s.reads() {
		return true
	}
	return (strings.HasPrefix(s.subject, "$JS.API.STREAM.") || !strings.HasPrefix(s.subject, "$")) && !s.reads() && (failure(weir) == 0) != (failure(nats) == 0)
}

// Error codes of the API.
const (
	badRequest       = 10003
	noPeers          = 10005
	noCluster        = 10010
	consumerNotFound = 10014
	badJSON          = 10025
	tooManyStreams   = 10027
	noMemory         = 10028
	noMessage        = 10037
	badFilter        = 10049
	badConfig        = 10052
	nameInUse        = 10058
	streamMismatch   = 10056
	streamNotFound   = 10059
	badScheduler     = 10212
	maxBytesRequired = 10113
	maxBytesExceeded = 10122
	levelRequired    = 10185
)

// pastTheEnd tells whether a list is of no streams.
func pastTheEnd(a *answer) bool {
	var doc struct{ Streams []json.RawMessage }
	return len(a.msgs) == 1 && json.Unmarshal(a.msgs[0].Data, &doc) == nil && len(doc.Streams) == 0
}

// duplicate tells whether a message was acknowledged as one that is there.
func duplicate(a *answer) bool {
	var doc struct{ Duplicate bool }
	return len(a.msgs) == 1 && json.Unmarshal(a.msgs[0].Data, &doc) == nil && doc.Duplicate
}

// wildcardLast tells whether a get is for the last message of many subjects.
func wildcardLast(s *step) bool {
	var req struct {
		Last string `json:"last_by_subj"`
	}
	return json.Unmarshal([]byte(s.body), &req) == nil && strings.ContainsAny(req.Last, "*>")
}

// failure is the error code of an answer, 0 if it is none.
func failure(a *answer) int {
	if len(a.msgs) != 1 {
		return 0
	}
	var doc struct {
		Error struct {
			Code int `json:"err_code"`
		} `json:"error"`
	}
	_ = json.Unmarshal(a.msgs[0].Data, &doc) // a message is not one either
	return doc.Error.Code
}

// status is that of a direct get, "" for a message.
func status(a *answer) string {
	if len(a.msgs) == 0 {
		return ""
	}
	return statusOf(a.msgs[0])
}

func statusOf(m *nats.Msg) string { return m.Header.Get("Status") }
