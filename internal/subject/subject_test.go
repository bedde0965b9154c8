package subject

import (
	"slices"
	"strings"
	"testing"
)

func TestValid(t *testing.T) {
	for _, c := range []struct {
		subject        string
		valid, literal bool
	}{
		{"foo", true, true},
		{"foo.bar", true, true},
		{"foo.*", true, false},
		{"*", true, false},
		{">", true, false},
		{"foo.>", true, false},
		{"*.*.>", true, false},
		{"foo*.b>r", true, true},
		{"foo.>x", true, true},
		{"", false, false},
		{".", false, false},
		{".foo", false, false},
		{"foo.", false, false},
		{"foo..bar", false, false},
		{">.foo", false, false},
		{"foo.>.bar", false, false},
		{"foo bar", false, false},
		{"foo\tbar", false, false},
		{"foo\x00", false, false},
		{"föö.bär", true, true},
	} {
		if got := Valid(c.subject); got != c.valid {
			t.Errorf("Valid(%q) = %v", c.subject, got)
		}
		if got := ValidLiteral(c.subject); got != c.literal {
			t.Errorf("ValidLiteral(%q) = %v", c.subject, got)
		}
	}
}

// vocabulary makes every subject of up to depth tokens out of words.
func vocabulary(words []string, depth int) []string {
	var all []string
	last := []string{""}
	for range depth {
		var next []string
		for _, prefix := range last {
			for _, w := range words {
				next = append(next, strings.TrimPrefix(prefix+"."+w, "."))
			}
		}
		all = append(all, next...)
		last = next
	}
	return slices.DeleteFunc(all, func(s string) bool { return !Valid(s) })
}

// slowMatch is the definition of matching.
func slowMatch(literal, pattern []string) bool {
	switch {
	case len(pattern) == 0 || len(literal) == 0:
		return len(pattern) == len(literal)
	case pattern[0] == ">":
		return true
	case pattern[0] == "*" || pattern[0] == literal[0]:
		return slowMatch(literal[1:], pattern[1:])
	}
	return false
}

// TestAlgebra checks Match, Overlap and Subset against their definitions over
// all subjects of a small language.
func TestAlgebra(t *testing.T) {
	// One token and one word more than the patterns have, so that every
	// difference between two patterns has a witness.
	literals := vocabulary([]string{"a", "b", "c"}, 4)
	patterns := vocabulary([]string{"a", "b", "*", ">"}, 3)
	matched := map[string]map[string]bool{}
	for _, p := range patterns {
		matched[p] = map[string]bool{}
		for _, l := range literals {
			want := slowMatch(Tokens(l), Tokens(p))
			if got := Match(l, p); got != want {
				t.Fatalf("Match(%q, %q) = %v", l, p, got)
			}
			if want {
				matched[p][l] = true
			}
		}
	}
	for _, a := range patterns {
		for _, b := range patterns {
			overlap, subset := false, true
			for l := range matched[a] {
				if matched[b][l] {
					overlap = true
				} else {
					subset = false
				}
			}
			if got := Overlap(a, b); got != overlap {
				t.Errorf("Overlap(%q, %q) = %v", a, b, got)
			}
			if got := Subset(a, b); got != subset {
				t.Errorf("Subset(%q, %q) = %v", a, b, got)
			}
		}
	}
}

func TestMatchOfEmptyTokens(t *testing.T) {
	for _, l := range []string{"", ".", "a.", ".a", "a..b"} {
		for _, p := range []string{">", "*", "a.>", "*.*", "a.*.b", "a.*", "*.>"} {
			if Match(l, p) {
				t.Errorf("Match(%q, %q)", l, p)
			}
		}
	}
}

func TestTokens(t *testing.T) {
	if n := NumTokens(""); n != 0 {
		t.Errorf("NumTokens of nothing = %d", n)
	}
	if n := NumTokens("a.b.c"); n != 3 {
		t.Errorf("NumTokens = %d", n)
	}
	if got := Tokens("a.b"); !slices.Equal(got, []string{"a", "b"}) {
		t.Errorf("Tokens = %q", got)
	}
}

func TestFilter(t *testing.T) {
	many := []string{"x.*", "y.>"}
	for c := 'a'; c < 'm'; c++ {
		many = append(many, string(c))
	}
	for _, c := range []struct {
		filter      Filter
		yes, no     []string
		all         bool
		numSubjects int
	}{
		{Filter{}, []string{"a", "a.b"}, nil, true, 0},
		{NewFilter(">"), []string{"a", "a.b"}, nil, true, 1},
		{NewFilter("a", "b.*"), []string{"a", "b.c"}, []string{"b", "c", "a.b"}, false, 2},
		{NewFilter(many...), []string{"a", "l", "x.1", "y.1.2"}, []string{"m", "x", "x.1.2"}, false, 14},
	} {
		if c.filter.All() != c.all || len(c.filter.Subjects()) != c.numSubjects {
			t.Errorf("%v: All = %v", c.filter.Subjects(), c.filter.All())
		}
		for _, s := range c.yes {
			if !c.filter.Match(s) || !c.filter.MatchBytes([]byte(s)) {
				t.Errorf("%v does not match %q", c.filter.Subjects(), s)
			}
		}
		for _, s := range c.no {
			if c.filter.Match(s) {
				t.Errorf("%v matches %q", c.filter.Subjects(), s)
			}
		}
	}
}
