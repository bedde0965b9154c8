package subject

import "testing"

// FuzzTransform gives transforms of any texts any subjects: what a source matches maps
// to something, also when its functions make no sense.
func FuzzTransform(f *testing.F) {
	f.Add("a.*.>", "b.$1.>", "a.b.c")
	f.Add("*.*", "{{partition(10,1,2)}}.{{split(1,-)}}.{{sliceFromRight(2,3)}}", "a-b.cdefg")
	f.Add("*", "{{left(1,-1)}}.{{ Random(5) }}.{{wildcard(1)}}", "x")
	f.Add("*", "{{}}.{{()}}.{{partition(,)}}", "x")
	f.Fuzz(func(t *testing.T, src, dest, literal string) {
		tr, err := NewRandomTransform(src, dest, func(n int) int { return n - 1 })
		if err != nil {
			return
		}
		if mapped, ok := tr.Apply(literal); ok != Match(literal, tr.Source()) {
			t.Fatalf("%q to %q takes %q to %q: %v", src, dest, literal, mapped, ok)
		}
	})
}

// FuzzMapping compares a mapping with its inverse.
func FuzzMapping(f *testing.F) {
	f.Add("a.*", "b.$1", "a.x", "b.>")
	f.Add("*.*", "$2.$1", "x.y", "x.*")
	f.Add(">", "in.>", "x.y", "in.*.y")
	f.Fuzz(func(t *testing.T, from, to, literal, pattern string) {
		m, err := NewMapping(from, to)
		if err != nil {
			return
		}
		if Valid(pattern) {
			if origin, ok := m.Origin(pattern); ok && !Valid(origin) {
				t.Fatalf("%q to %q: %q comes from %q", from, to, pattern, origin)
			}
		}
		if !ValidLiteral(literal) {
			return
		}
		mapped, ok := m.Apply(literal)
		if !ok {
			return
		}
		if back, ok := m.Inverse().Apply(mapped); !ok || back != literal {
			t.Fatalf("%q to %q: %q becomes %q, and that %q", from, to, literal, mapped, back)
		}
	})
}
