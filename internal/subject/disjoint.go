package subject

// Disjoint is a set of patterns of which no two can match the same subject; the zero
// value is empty. The time to add one without wildcards does not grow with the set.
type Disjoint struct{ root level[struct{}] }

// Add adds a pattern, which must be Valid, or tells that it overlaps with one that is there.
func (d *Disjoint) Add(pattern string) bool {
	if !d.root.overlapping(pattern, func(*node[struct{}]) bool { return false }) {
		return false
	}
	return d.root.insert(pattern, "", struct{}{})
}
