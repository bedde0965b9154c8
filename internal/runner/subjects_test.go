package runner

import "testing"

func TestReadSubject(t *testing.T) {
	for subj, want := range map[string]Subject{
		"$JS.ACK.S.C.1.2.3.4.5":              {Stream: "S", Consumer: "C", Rest: "1.2.3.4.5"},
		"$JS.ACK._.hash.S.C.1.2.3.4.5":       {Scope: "_.hash.", Stream: "S", Consumer: "C", Rest: "1.2.3.4.5"},
		"$JS.ACK.hub.hash.S.C.1.2.3.4.5.rnd": {Scope: "hub.hash.", Stream: "S", Consumer: "C", Rest: "1.2.3.4.5.rnd"},
		"$JS.ACK.S.C":                        {Stream: "S", Consumer: "C"},
		"$JS.ACK.S":                          {Stream: "S"},
		"$JS.ACK.........":                   {Scope: "..", Rest: "...."},
		"$JS.FC.S.C.id":                      {Flow: true, Stream: "S", Consumer: "C", Rest: "id"},
		"$JS.FC.hub.hash.S.C.id":             {Flow: true, Scope: "hub.hash.", Stream: "S", Consumer: "C", Rest: "id"},
	} {
		if got, ok := ReadSubject(subj); !ok || got != want {
			t.Errorf("ReadSubject(%q) = %+v, %t", subj, got, ok)
		}
	}
	for _, subj := range []string{"$JS.ACK", "$JS.API.INFO", "$JS.API.CONSUMER.MSG.NEXT.S.C", ""} {
		if got, ok := ReadSubject(subj); ok {
			t.Errorf("ReadSubject(%q) = %+v", subj, got)
		}
	}
}
