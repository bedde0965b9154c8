package runner

import "strings"

const (
	ackPrefix  = "$JS.ACK."
	flowPrefix = "$JS.FC."
)

// Subject is what the subject of an ack or of the answer to a flow control request
// says. There are two versions of both (ADR-15), which are always understood:
//
//	$JS.ACK.<stream>.<consumer>.<delivered>.<sseq>.<cseq>.<ts>.<pending>
//	$JS.ACK.<domain or _>.<account hash>.<stream>.<consumer>.…[.<random>]
//	$JS.FC.<stream>.<consumer>.<id>
//	$JS.FC.<domain or _>.<account hash>.<stream>.<consumer>.<id>
type Subject struct {
	Flow             bool   // else an ack
	Scope            string // of version 2, as Scope makes it; empty in version 1
	Stream, Consumer string // empty if the subject is too short
	Rest             string // behind the consumer
}

// ReadSubject reads the subject of an ack or of an answer to flow control; ok is
// false for all others.
func ReadSubject(subj string) (s Subject, ok bool) {
	rest, ok := strings.CutPrefix(subj, ackPrefix)
	dots := 8 // of the shortest one in version 2
	if !ok {
		if rest, ok = strings.CutPrefix(subj, flowPrefix); !ok {
			return s, false
		}
		s.Flow, dots = true, 4
	}
	if strings.Count(rest, ".") >= dots {
		domain, tail, _ := strings.Cut(rest, ".")
		hash, _, _ := strings.Cut(tail, ".")
		end := len(domain) + 1 + len(hash) + 1
		s.Scope, rest = rest[:end], rest[end:]
	}
	s.Stream, rest, _ = strings.Cut(rest, ".")
	s.Consumer, s.Rest, _ = strings.Cut(rest, ".")
	return s, true
}

// Scope is what stands before the stream in subjects of version 2:
// "<domain or _>.<account hash>.".
func Scope(domain, accountHash string) string {
	if domain == "" {
		domain = "_"
	}
	return domain + "." + accountHash + "."
}
