package jsapi

import (
	"slices"
	"testing"
)

func TestTurns(t *testing.T) {
	turns := turns{limit: 2}
	var ran []string
	run := func(name string) func() { return func() { ran = append(ran, name) } }
	turns.take("a", run("a1"))
	turns.take("a", run("a2"))
	turns.take("b", run("b1"))
	turns.take("a", run("a3"))
	if turns.take("a", run("one too many")) {
		t.Error("three wait")
	}
	if want := []string{"a1", "b1"}; !slices.Equal(ran, want) {
		t.Fatalf("ran %v, want %v", ran, want)
	}
	turns.done("a")
	turns.done("b")
	turns.done("a")
	turns.done("a")
	turns.take("a", run("a4"))
	if want := []string{"a1", "b1", "a2", "a3", "a4"}; !slices.Equal(ran, want) {
		t.Fatalf("ran %v, want %v", ran, want)
	}
}
