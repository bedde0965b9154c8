package msgstore

import (
	"errors"
	"slices"
	"strings"

	"github.com/cockroachdb/pebble/v2"

	"weir/internal/base"
	"weir/internal/subject"
)

// leapAfter is how many subjects in a row that a pattern does not match are stepped
// over before the walk leaps to where it may match again: a step costs a small part
// of what a search does.
const leapAfter = 8

// matching visits the subjects that match a pattern, alphabetically.
func (v view) matching(pattern string, visit func(string, subjectTotal, []uint64) (bool, error)) (err error) {
	if !subject.HasWildcard(pattern) {
		total, open, err := v.lookup(pattern)
		if err == nil {
			_, err = visit(pattern, total, open)
		}
		return err
	}
	w, err := v.walk(pattern, "")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.close()) }()
	for {
		ok, err := w.next()
		if err != nil || !ok {
			return err
		}
		if !w.matches() {
			continue
		}
		name := w.name
		if w.entry == nil {
			name = strings.Clone(name)
		}
		more, err := visit(name, w.total, w.open)
		if err != nil || !more {
			return err
		}
	}
}

// walk goes through the subjects that begin as a pattern does, those in memory merged
// with those in Pebble, alphabetically. It leaps over those that the pattern can not
// match, if the caller asks for each whether it does.
type walk struct {
	v       view
	pattern string
	misses  int              // in a row
	names   []string         // in memory, from the next on
	it      *pebble.Iterator // nil: none is in Pebble
	valid   bool             // it stands on the next subject
	used    bool             // it stands on name
	skip    int              // length of what is before the subject in its keys
	key     []byte           // scratch

	// The subject that next went to. name is valid until the next call, entry is nil when
	// the subject is not in memory.
	name  string
	entry *entry
	total subjectTotal
	open  []uint64
}

// walk begins with the subject from, or with the first. A literal pattern has one
// subject.
func (v view) walk(pattern, from string) (*walk, error) {
	w := &walk{v: v, pattern: pattern}
	if !subject.HasWildcard(pattern) && v.area.subjects[pattern] != nil {
		w.names = []string{pattern}
		return w, nil
	}
	prefix := literalBeginning(pattern)
	begin := appendSubjectKey(nil, v.number, kindTotal, prefix)
	upper := upperBound(begin)
	if subject.HasWildcard(pattern) {
		for name := range v.area.subjects {
			if name >= from && strings.HasPrefix(name, prefix) {
				w.names = append(w.names, name)
			}
		}
		slices.Sort(w.names)
	} else {
		upper = append(begin, 0)
	}
	if v.apply && v.s.reset != 0 {
		return w, nil
	}
	w.skip = len(begin) - len(prefix)
	lower := append(begin[:w.skip:w.skip], max(prefix, from)...)
	var err error
	if w.it, err = v.index.NewIter(&pebble.IterOptions{LowerBound: lower, UpperBound: upper}); err != nil {
		return nil, indexError("reading subjects", err)
	}
	w.valid = w.it.First()
	return w, nil
}

func (w *walk) close() error {
	if w.it == nil {
		return nil
	}
	return w.it.Close()
}

// next goes to the next subject; false when there is none.
func (w *walk) next() (bool, error) {
	if w.used {
		w.used, w.valid = false, w.it.Next()
	}
	if !w.valid && w.it != nil {
		if err := w.it.Error(); err != nil {
			return false, indexError("reading subjects", err)
		}
	}
	if !w.valid && len(w.names) == 0 {
		return false, nil
	}
	inIndex := w.valid
	if w.valid {
		w.name = base.View(w.it.Key()[w.skip:])
	}
	if len(w.names) > 0 && (!w.valid || w.names[0] <= w.name) {
		w.used = w.valid && w.names[0] == w.name
		w.name, w.names, inIndex = w.names[0], w.names[1:], false
	}
	if !inIndex {
		w.entry = w.v.area.subjects[w.name]
		w.total, w.open = w.entry.total, w.v.visibleOpen(w.entry)
		return true, nil
	}
	w.used, w.entry, w.open = true, nil, nil
	value, err := w.it.ValueAndErr()
	if err != nil {
		return false, indexError("reading subjects", err)
	}
	w.total, err = decodeTotal(value)
	return true, err
}

// matches tells whether the pattern matches the subject. After a few that it does not
// match in a row the walk leaps: where to, follows from the subjects that were asked
// about.
func (w *walk) matches() bool {
	if subject.Match(w.name, w.pattern) {
		w.misses = 0
		return true
	}
	if w.misses++; w.misses == leapAfter {
		w.misses = 0
		w.leap()
	}
	return false
}

// leap goes to before the next subject that the pattern may match.
func (w *walk) leap() {
	to, ok := nextMatch(w.pattern, w.name)
	if !ok {
		w.names, w.valid, w.used = nil, false, false
		return
	}
	i, _ := slices.BinarySearch(w.names, to)
	w.names = w.names[i:]
	if w.valid {
		w.key = appendSubjectKey(w.key[:0], w.v.number, kindTotal, to)
		w.used, w.valid = false, w.it.SeekGE(w.key)
	}
}

// nextMatch is a lower bound of the subjects after one, which the pattern does not
// match, that it does match; false when there is none.
func nextMatch(pattern, name string) (string, bool) {
	// name[:at] is what the tokens before match, with the dot behind.
	for at := 0; ; {
		want, more, isMore := strings.Cut(pattern, ".")
		got, _, longer := strings.Cut(name[at:], ".")
		pattern = more
		if want != "*" && want != got {
			if isMore {
				want += "."
			}
			if least := name[:at] + want; name < least {
				return least, true
			}
			return after(name[:at])
		}
		at += len(got)
		switch {
		case !longer:
			return name + "\x00", true // it is too short: any may be the next that is not
		case !isMore:
			return after(name[:at+1]) // it is too long
		}
		at++
	}
}

// after is a lower bound of the subjects after all that begin with some tokens, each
// with a dot behind; false when these are none.
func after(tokens string) (string, bool) {
	if tokens == "" {
		return "", false
	}
	return tokens[:len(tokens)-1] + "/", true // the byte after the dot
}

// literalBeginning is how the subjects that a pattern matches begin: its tokens
// before the first wildcard.
func literalBeginning(pattern string) string {
	n := 0
	for token := range strings.SplitSeq(pattern, ".") {
		if token == "*" || token == ">" {
			return strings.TrimSuffix(pattern[:n], ".")
		}
		n += len(token) + 1
	}
	return pattern
}
