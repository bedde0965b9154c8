package subject

import (
	"slices"

	"weir/internal/base"
)

// manyFilters is the number of literal filters from which a map beats a walk
// over them.
const manyFilters = 8

// Filter is a compiled set of filter subjects. The zero Filter, which has none,
// matches everything. It is immutable and may be shared.
type Filter struct {
	subjects []string
	all      bool
	// walk holds the subjects that are compared one by one; literals holds the
	// rest when there are many.
	walk     []string
	literals map[string]struct{}
}

// NewFilter compiles subjects, each of which must be Valid.
func NewFilter(subjects ...string) Filter {
	f := Filter{subjects: slices.Clone(subjects)}
	f.all = slices.Contains(subjects, ">")
	if len(subjects) < manyFilters {
		f.walk = f.subjects
		return f
	}
	f.literals = make(map[string]struct{}, len(subjects))
	for _, s := range f.subjects {
		if HasWildcard(s) {
			f.walk = append(f.walk, s)
		} else {
			f.literals[s] = struct{}{}
		}
	}
	return f
}

// Match tells whether one of the filter's subjects matches literal.
func (f Filter) Match(literal string) bool {
	if f.All() {
		return true
	}
	if _, ok := f.literals[literal]; ok {
		return true
	}
	for _, pattern := range f.walk {
		if Match(literal, pattern) {
			return true
		}
	}
	return false
}

// MatchBytes is Match for a subject that is still in a read buffer.
func (f Filter) MatchBytes(literal []byte) bool { return f.Match(base.View(literal)) }

// Subjects returns the subjects that the filter was made of; read-only.
func (f Filter) Subjects() []string { return f.subjects }

// All tells whether the filter matches every subject.
func (f Filter) All() bool { return f.all || len(f.subjects) == 0 }
