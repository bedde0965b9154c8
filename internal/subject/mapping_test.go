package subject

import "testing"

func TestMapping(t *testing.T) {
	for _, c := range []struct{ from, to, literal, mapped string }{
		{"foo", "bar", "foo", "bar"},
		{"foo", "bar", "bar", ""},
		{"foo.*", "foo.*", "foo.a", "foo.a"},
		{"foo.*.*", "x.*.*", "foo.a.b", "x.a.b"},
		{"foo.*.*", "x.$2.$1", "foo.a.b", "x.b.a"},
		{"foo.*.*", "x.$2.y.{{wildcard(1)}}", "foo.a.b", "x.b.y.a"},
		{"*.*", "$2.$1", "a.b", "b.a"},
		{"foo.>", "x.y.>", "foo.a.b", "x.y.a.b"},
		{"$JS.API.>", "dlc.>", "$JS.API.INFO", "dlc.INFO"},
		{"foo.*.>", "$1.x.>", "foo.a.b.c", "a.x.b.c"},
	} {
		m, err := NewMapping(c.from, c.to)
		if err != nil {
			t.Errorf("%s to %s: %v", c.from, c.to, err)
			continue
		}
		got, ok := m.Apply(c.literal)
		if ok != (c.mapped != "") || ok && got != c.mapped {
			t.Errorf("%s to %s: %s is mapped to %q, %v", c.from, c.to, c.literal, got, ok)
		}
		if !ok {
			continue
		}
		if back, ok := m.Inverse().Apply(got); !ok || back != c.literal {
			t.Errorf("%s to %s: %s is mapped back to %q", c.from, c.to, got, back)
		}
	}
	for _, c := range [][2]string{
		{"foo.*", "x"}, {"foo", "x.*"}, {"foo.*.*", "x.$1"}, {"foo.*.*", "x.$1.$1"}, {"foo.*.*", "x.$1.*"}, {"foo.*", "x.$2"},
		{"foo.>", "x"}, {"foo", "x.>"}, {"foo..a", "x"}, {"foo", "x..a"}, {"foo.*", "x.{{partition(3,1)}}"}, {"foo.*", "x.$0"},
	} {
		if _, err := NewMapping(c[0], c[1]); err == nil {
			t.Errorf("%s to %s is accepted", c[0], c[1])
		}
	}
}

func TestMappingOrigin(t *testing.T) {
	for _, c := range []struct{ from, to, pattern, origin string }{
		{"foo.>", "foo.>", ">", "foo.>"},
		{"foo.>", "foo.>", "foo.*.b", "foo.*.b"},
		{"foo.>", "x.>", "x.a", "foo.a"},
		{"foo.>", "x.>", "*.a.>", "foo.a.>"},
		{"foo.*.*", "x.$2.$1", "x.k.>", "foo.*.k"},
		{"foo.*.*", "x.$2.$1", "*.k.l", "foo.l.k"},
		{"foo", "x.y", ">", "foo"},
		{"foo", "x.y", "x", ""},
		{"foo.*", "x.*", "y.>", ""},
	} {
		m, err := NewMapping(c.from, c.to)
		if err != nil {
			t.Fatal(err)
		}
		if got, ok := m.Origin(c.pattern); ok != (c.origin != "") || ok && got != c.origin {
			t.Errorf("%s to %s, %s: got %q, %v", c.from, c.to, c.pattern, got, ok)
		}
	}
}

func TestIntersection(t *testing.T) {
	for _, c := range [][3]string{
		{"a.*", "*.b", "a.b"}, {"a.>", "*.b.*", "a.b.*"}, {">", "*", "*"}, {"a.*", "a.>", "a.*"}, {"a.>", "a.>", "a.>"},
		{"a", "a.>", ""}, {"a.b", "a.c", ""}, {"a.*", "a.*.c", ""}, {"*.c", "a.b.c", ""},
	} {
		for _, p := range [][2]string{{c[0], c[1]}, {c[1], c[0]}} {
			if got, ok := Intersection(p[0], p[1]); ok != (c[2] != "") || ok && got != c[2] {
				t.Errorf("%s and %s: got %q, %v, want %q", p[0], p[1], got, ok, c[2])
			}
		}
	}
}
