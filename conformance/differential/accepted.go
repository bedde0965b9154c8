package differential

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/nats-io/nats.go"
)

// exchange is a step with what both servers answered.
type exchange struct {
	*step
	cluster    bool
	weir, nats *answer
	w, n       int // the error codes; 0 for none
	// before is what was changed shortly before.
	before []*step
}

// message tells whether it is one for a stream.
func (x *exchange) message() bool { return !strings.HasPrefix(x.subject, "$JS.API.") }

// movesThere tells whether the answers differ only in that a stream is under way on the other server's side.
func (x *exchange) movesThere() bool {
	const at = "body.cluster."
	elsewhere := func(d difference) bool { return !strings.HasPrefix(d.path, at) }
	wanted := func(d difference) bool { return d.path == at+"desired" && d.weir == none }
	differences := compare("", x.weir.document(), x.nats.document())
	return slices.ContainsFunc(differences, wanted) && !slices.ContainsFunc(differences, elsewhere)
}

// to tells whether it is a request to the API of that kind.
func (x *exchange) to(verb string) bool { return strings.HasPrefix(x.subject, "$JS.API."+verb) }

// asks tells whether the body of an API request has all these pieces.
func (x *exchange) asks(pieces ...string) bool {
	missing := func(piece string) bool { return !strings.Contains(x.body, piece) }
	return !x.message() && !slices.ContainsFunc(pieces, missing)
}

// follows tells whether there was such a change shortly before.
func (x *exchange) follows(verb, piece string) bool {
	return slices.ContainsFunc(x.before, func(s *step) bool {
		return strings.HasPrefix(s.subject, "$JS.API."+verb) && strings.Contains(s.body, piece)
	})
}

// accepted tells whether answers differ on purpose. docs/conformance.md has the
// reasons.
func (p *Pair) accepted(s *step, weir, nats *answer) bool {
	x := &exchange{step: s, cluster: p.Lag > 0, weir: weir, nats: nats, w: failure(weir), n: failure(nats), before: p.before()}
	return slices.ContainsFunc(onPurpose, func(rule func(*exchange) bool) bool { return rule(x) })
}

// onPurpose has a rule for each kind of difference that is accepted.
var onPurpose = slices.Concat(ofRequests, ofStreams, ofReads)

var ofRequests = []func(*exchange) bool{
	// What follows "invalid JSON:" names the types of the program.
	func(x *exchange) bool { return x.w == badJSON && x.n == badJSON },
	// A cluster lists no consumers of a stream that does not exist.
	func(x *exchange) bool {
		return x.cluster && x.to("CONSUMER.LIST.") && x.w == streamNotFound && x.n == 0
	},
	// It is silent if a consumer to be reset does not exist; in a cluster also if a stream to be backed
	// up or a preferred leader of the meta group does not.
	func(x *exchange) bool {
		return x.nats.err == "no answer" && (x.w == streamNotFound && (x.to("CONSUMER.RESET.") || x.to("STREAM.SNAPSHOT.")) ||
			x.w == consumerNotFound && x.to("CONSUMER.RESET.") || x.w == noPeers && x.to("META.LEADER.STEPDOWN"))
	},
	// A bad body of a reset comes first here, and there is no answer to it.
	func(x *exchange) bool { return x.to("CONSUMER.RESET.") && x.w == badJSON && x.nats.err == "no answer" },
	// A server alone is silent where a cluster is asked for.
	func(x *exchange) bool {
		return !x.cluster && x.as == systemUser && x.w == noCluster && x.nats.err == "no answer"
	},
	// The API level comes first here: there, in a cluster, whether the stream is there, and of a consumer's creation the body.
	func(x *exchange) bool {
		return x.w == levelRequired && (x.cluster && x.n == streamNotFound || x.to("CONSUMER.") && x.n == badJSON)
	},
	func(x *exchange) bool {
		return x.to("DIRECT.") && x.header["Nats-Required-Api-Level"] != nil && status(x.weir) == "412" && x.nats.err == "no responders"
	},
	// Any account may move the streams of all others.
	func(x *exchange) bool { return x.to("ACCOUNT.STREAM.") && x.as != systemUser && x.weir.err != "" },
	// A move to nowhere in particular.
	func(x *exchange) bool { return x.to("ACCOUNT.STREAM.MOVE.") && x.w == badRequest && x.n == noPeers },
	// A cluster counts no streams behind the last page.
	func(x *exchange) bool {
		return x.cluster && x.to("STREAM.LIST") && x.asks("offset") && pastTheEnd(x.weir) && pastTheEnd(x.nats)
	},
}

var ofStreams = []func(*exchange) bool{
	// Weir says which tags are not there.
	func(x *exchange) bool {
		return x.w == noPeers && x.n == noPeers && x.asks(`"tags"`) && withoutTags(x.weir) == withoutTags(x.nats)
	},
	// It takes a counter with delete markers, and does not find it again after a restart.
	func(x *exchange) bool {
		return x.w == badConfig && x.n != badConfig && x.asks(`"allow_msg_counter":true`, `"subject_delete_marker_ttl"`)
	},
	// A cluster does not seal a counter, as that would make it discard new messages.
	func(x *exchange) bool {
		return x.cluster && x.w == 0 && x.n == badConfig && x.asks(`"allow_msg_counter":true`, `"sealed":true`)
	},
	// It looks at what an account may have before the rest.
	func(x *exchange) bool { return x.w == badConfig && x.n == noMemory },
	func(x *exchange) bool {
		return x.n == tooManyStreams && (x.w == badConfig || x.w == maxBytesRequired || x.w == maxBytesExceeded)
	},
	// It may take the filter of a source that is no subject, and copies nothing.
	func(x *exchange) bool { return x.w == badFilter && x.asks(`"sources"`, `"filter_subject"`) },
	// Of two faults of sources the other one comes first.
	func(x *exchange) bool { return x.w == duplicateSource && x.n == tooLargeSource },
	// A message may hold a schedule and end another.
	func(x *exchange) bool { return x.message() && x.w == badScheduler && x.n == 0 },
	// A replicated stream looks at the last id when the rest is over, and is out of order for some time.
	func(x *exchange) bool {
		return x.cluster && x.header.Get("Nats-Expected-Last-Msg-Id") != "" && (x.w != 0 || duplicate(x.weir)) && (x.n != 0 || duplicate(x.nats))
	},
	// An update that gives a placement begins a move, also to where the stream is.
	func(x *exchange) bool {
		return x.cluster && x.to("STREAM.UPDATE.") && x.asks(`"placement"`) && x.movesThere()
	},
	// A stream loses what comes just after an update that gave it a placement.
	func(x *exchange) bool {
		return x.cluster && x.message() && x.nats.err == "no answer" && len(x.weir.msgs) > 0 && x.follows("STREAM.UPDATE.", `"placement"`)
	},
	// The other nodes may not have heard yet that the stream is gone, or that it has other subjects.
	func(x *exchange) bool {
		silence := func(a *answer) bool { return a.err == "no answer" || a.err == "no responders" }
		return x.cluster && (x.message() || x.to("DIRECT.")) && silence(x.weir) && silence(x.nats) && x.follows("STREAM.", "")
	},
}

var ofReads = []func(*exchange) bool{
	// Its index of last messages can miss one after a purge.
	func(x *exchange) bool {
		return x.reads() && x.w == 0 && wildcardLast(x.step) && (x.n == noMessage || status(x.nats) == "404")
	},
	// ADR-52: no message of a batch has headers.
	func(x *exchange) bool { return x.asks(`"no_hdr":true`) && x.many() },
	// A bound behind the last message is none.
	func(x *exchange) bool {
		return x.asks(`"up_to_seq"`) && status(x.nats) == "404" && status(x.weir) != "404"
	},
	// Or it is repeated, though what is read next is to be as of the last message that there was.
	func(x *exchange) bool {
		weir, nats := upTo(x.weir), upTo(x.nats)
		return weir > 0 && weir < nats && x.asks(fmt.Sprintf(`"up_to_seq":%d`, nats)) && len(x.weir.msgs) == len(x.nats.msgs)
	},
}

// tagsTold is what follows when tags are named.
var tagsTold = regexp.MustCompile(`, tags (not matched|excluded) \[.*?\]`)

// withoutTags is the text of an error of placement, without the tags that it names.
func withoutTags(a *answer) string { return tagsTold.ReplaceAllString(string(a.msgs[0].Data), "") }

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
	streamNotFound   = 10059
	tooLargeSource   = 10046
	duplicateSource  = 10140
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

// upTo is the sequence up to which a batch was read, 0 if its end does not tell.
func upTo(a *answer) uint64 {
	if len(a.msgs) == 0 {
		return 0
	}
	seq, _ := strconv.ParseUint(a.msgs[len(a.msgs)-1].Header.Get("Nats-UpTo-Sequence"), 10, 64)
	return seq
}

func statusOf(m *nats.Msg) string { return m.Header.Get("Status") }
