package runner

import (
	"strings"
	"testing"
)

// FuzzSubjects reads any subject as one of an ack or of flow control.
func FuzzSubjects(f *testing.F) {
	f.Add("$JS.ACK.S.C.1.2.3.4.5")
	f.Add("$JS.ACK._.hash.S.C.1.2.3.4.5.random")
	f.Add("$JS.FC.S.C.id")
	f.Add("$JS.FC......")
	f.Fuzz(func(t *testing.T, subj string) {
		s, ok := ReadSubject(subj)
		if !ok {
			return
		}
		if said := s.Scope + s.Stream + s.Consumer + s.Rest; len(said) > len(subj) || strings.Contains(s.Stream+s.Consumer, ".") {
			t.Fatalf("%q is %+v", subj, s)
		}
		ParseAckTokens(s.Rest)
	})
}

// FuzzBodies reads any body as that of a pull and of a nak.
func FuzzBodies(f *testing.F) {
	f.Add([]byte(`{"batch":1,"expires":9223372036854775807,"idle_heartbeat":-1}`))
	f.Add([]byte(`{"delay":-9223372036854775808}`))
	f.Add([]byte("99999999999999999999"))
	f.Add([]byte("-5m"))
	f.Fuzz(func(t *testing.T, body []byte) {
		next, err := parseNext(body)
		if err == nil && next.Batch < 0 {
			t.Fatalf("a pull of %d messages", next.Batch)
		}
		nakDelay(body)
	})
}
