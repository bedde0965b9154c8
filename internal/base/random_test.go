package base

import "testing"

// Equal seeds draw alike, and every number of a range about equally often.
func TestRandom(t *testing.T) {
	const sides, throws = 6, 60_000
	var a, b Random
	a.Seed(7)
	b.Seed(7)
	var seen [sides]int
	for range throws {
		n := a.IntN(sides)
		if n != b.IntN(sides) {
			t.Fatal("equal seeds differ")
		}
		seen[n]++
	}
	for side, n := range seen {
		if n < throws/sides*9/10 || n > throws/sides*11/10 {
			t.Errorf("%d came %d times of %d", side, n, throws)
		}
	}
}
