package subject

import "testing"

// Every pair of patterns is disjoint exactly if it does not overlap.
func TestDisjoint(t *testing.T) {
	patterns := []string{"a", "b", "a.b", "a.b.c", "*", ">", "a.*", "a.>", "*.b", "*.*", "*.>", "a.*.c", "*.b.*", "a.b.>", "b.>"}
	for _, a := range patterns {
		for _, b := range patterns {
			var d Disjoint
			if !d.Add(a) {
				t.Errorf("nothing overlaps with %s", a)
			}
			if got, want := d.Add(b), !Overlap(a, b); got != want {
				t.Errorf("%s beside %s: %v, want %v", b, a, got, want)
			}
		}
	}
	var many Disjoint
	for _, p := range []string{"a.b", "a.c", "b.*", "c.>", "d"} {
		if !many.Add(p) {
			t.Errorf("%s overlaps", p)
		}
	}
	for _, p := range []string{"a.*", "b.x", "c.x.y", "d", ">"} {
		if many.Add(p) {
			t.Errorf("%s does not overlap", p)
		}
	}
}
