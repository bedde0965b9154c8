package subject

import (
	"strings"
	"testing"
)

// TestTransform compares with what the established server's mapping does.
func TestTransform(t *testing.T) {
	for _, c := range []struct{ src, dest, subject, want string }{
		{"foo", "bar", "foo", "bar"},
		{"foo.*", "bar", "foo.x", "bar"},
		{"foo.*", "bar.$1", "foo.x", "bar.x"},
		{"foo.*.*", "bar.$2.$1", "foo.x.y", "bar.y.x"},
		{"foo.*.*", "bar.{{ Wildcard(2) }}", "foo.x.y", "bar.y"},
		{"", "x.>", "a.b", "x.a.b"},
		{">", "bar.>", "a.b", "bar.a.b"},
		{"*.>", ">", "a.b", "b"},
		{"foo.*.>", "bar.$1.>", "foo.a.b.c", "bar.a.b.c"},
		{"foo", "", "foo", "foo"},
		{"foo.*", "bar.{{partition(10,1)}}.$1", "foo.x", "bar.5.x"},
		{"foo.*.*", "bar.{{partition(10,1,2)}}", "foo.x.y", "bar.2"},
		{"foo.*.*", "bar.{{Partition(10 , 2, 1)}}", "foo.x.y", "bar.4"},
		{"foo.*.*", "bar.{{partition(1000000000)}}", "foo.x.y", "bar.723763876"},
		{"foo.*.*", "bar.{{partition(1000000000,1,2)}}", "foo.x.y", "bar.482915802"},
		{"foo", "bar.{{partition(0)}}", "foo", "bar.0"},
		{"*", "{{split(1,-)}}", "-a--b-c-", "a.b.c"},
		{"*", "{{split(1,-)}}", "-", "-"},
		{"*", "{{split(1, )}}", "123", "1.2.3"},
		{"*", "{{splitFromLeft(1,3)}}", "1234567", "123.4567"},
		{"*", "{{SplitFromRight(1,3)}}", "1234567", "1234.567"},
		{"*", "{{splitfromright(1,30)}}", "1234567", "1234567"},
		{"*", "{{splitfromleft(1,0)}}", "1234567", "1234567"},
		{"*", "{{sliceFromLeft(1,3)}}", "1234567", "123.456.7"},
		{"*", "{{sliceFromRight(1,3)}}", "1234567", "1.234.567"},
		{"*", "{{sliceFromRight(1,3)}}", "123456", "123.456"},
		{"*", "{{left(1,3)}}", "1234567", "123"},
		{"*", "{{right(1,3)}}", "1234567", "567"},
		{"*", "{{right(1,30)}}", "1234567", "1234567"},
		{"*", "a{{wildcard(1)}}.$1x.x$1", "b", "a{{wildcard(1)}}.$1x.x$1"},
	} {
		tr, err := NewTransform(c.src, c.dest)
		if err != nil {
			t.Errorf("NewTransform(%q, %q): %v", c.src, c.dest, err)
			continue
		}
		if got, ok := tr.Apply(c.subject); !ok || got != c.want {
			t.Errorf("%q → %q of %q = %q, %v; want %q", c.src, c.dest, c.subject, got, ok, c.want)
		}
	}
}

func TestTransformOfOtherSubjects(t *testing.T) {
	tr, err := NewTransform("foo.*", "bar.$1")
	if err != nil {
		t.Fatal(err)
	}
	if got, ok := tr.Apply("foo"); ok || got != "foo" {
		t.Errorf("Apply = %q, %v", got, ok)
	}
}

func TestTransformErrors(t *testing.T) {
	for _, c := range []struct{ src, dest, want string }{
		{"foo..a", "bar", "invalid subject"},
		{"foo.*", "bar.*", "invalid subject"},
		{"foo", "bar..x", "invalid mapping destination: invalid transform"},
		{"foo.>", "bar", "invalid subject"},
		{"foo", "bar.>", "invalid subject"},
		{"foo.*", "bar.$2", "invalid mapping destination: wildcard index out of range in $2: [2]"},
		{"foo", "bar.$1", "invalid mapping destination: wildcard index out of range in $1"},
		{"foo.*", "bar.$0", "invalid mapping destination: wildcard index out of range in $0: [0]"},
		{"*", "a.{{nope(5)}}", "invalid mapping destination: unknown function in {{nope(5)}}"},
		{"*", "a.{{wildcard()}}", "invalid mapping destination: not enough arguments passed to the function in {{wildcard()}}"},
		{"*", "a.{{wildcard(1,2)}}", "invalid mapping destination: too many arguments passed to the function in {{wildcard(1,2)}}"},
		{"*", "a.{{wildcard(a)}}", "invalid mapping destination: function argument is invalid or in the wrong format in {{wildcard(a)}}"},
		{"*", "a.{{split(1)}}", "invalid mapping destination: not enough arguments passed to the function in {{split(1)}}"},
		{"*", "a.{{partition()}}", "invalid mapping destination: function argument is invalid or in the wrong format in {{partition()}}"},
		{"*", "a.{{partition(10,2)}}", "invalid mapping destination: wildcard index out of range in {{partition(10,2)}}: [2]"},
		{"*", "a.{{left(2,1)}}", "invalid mapping destination: wildcard index out of range in {{left(2,1)}}: [2]"},
		{"*", strings.Repeat("$1.", 2000) + "x", "invalid mapping destination: longer than 4096 bytes"},
		{"*", "a.{{random(2)}}", "invalid mapping destination: random is not possible here in {{random(2)}}"},
	} {
		if _, err := NewTransform(c.src, c.dest); err == nil || err.Error() != c.want {
			t.Errorf("NewTransform(%q, %q): %v, want %s", c.src, c.dest, err, c.want)
		}
	}
}

func TestTransformRandom(t *testing.T) {
	tr, err := NewRandomTransform("foo", "bar.{{random(7)}}", func(n int) int { return n - 1 })
	if err != nil {
		t.Fatal(err)
	}
	if got, _ := tr.Apply("foo"); got != "bar.6" {
		t.Errorf("Apply = %q", got)
	}
}
