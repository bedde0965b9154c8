package base

import "sync/atomic"

// Random draws well mixed numbers (splitmix64) for choices that nobody gains by
// foreseeing, such as the member of a queue group. Equal seeds give equal numbers.
// It is safe for concurrent use and never waits; the zero Random has seed 0.
type Random struct{ state atomic.Uint64 }

// Seed begins anew.
func (r *Random) Seed(seed uint64) { r.state.Store(seed) }

// Uint64 is any number.
func (r *Random) Uint64() uint64 {
	z := r.state.Add(0x9e3779b97f4a7c15)
	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9
	z = (z ^ (z >> 27)) * 0x94d049bb133111eb
	return z ^ (z >> 31)
}

// IntN is a number from 0 to below n, which is positive.
func (r *Random) IntN(n int) int { return int(r.Uint64() % uint64(n)) }
