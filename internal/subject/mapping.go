package subject

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Mapping pairs the subjects of two patterns one to one, as an import pairs an
// account's subjects with those of another. It is immutable.
type Mapping struct {
	from, to string
	forward  *Transform // nil: from and to are the same
	back     *Transform
}

var (
	errRest     = fmt.Errorf("%w: either both subjects end with '>' or none", errDestination)
	errUnpaired = fmt.Errorf("%w: not every wildcard is used exactly once", errDestination)
	errOnlyWild = fmt.Errorf("%w: the only function is {{wildcard()}}", errDestination)
)

// NewMapping pairs from, a pattern, with to: a pattern whose wildcards are those
// of from in their order, or one that names each of them once, as $1 or
// {{wildcard(1)}}. A '>' is the end of both or of neither.
func NewMapping(from, to string) (*Mapping, error) {
	if !Valid(from) {
		return nil, fmt.Errorf("%w %q", ErrBadSubject, from)
	}
	tokens := Tokens(to)
	places := make([]int, 0, len(tokens)) // of from's wildcards, in the order of to
	named := false
	for i, token := range tokens {
		n, isWildcard, err := wildcardToken(token)
		switch {
		case err != nil:
			return nil, err
		case token == "*":
			places = append(places, len(places)+1)
		case isWildcard:
			named = true
			places = append(places, n)
			tokens[i] = "*"
		}
	}
	m := &Mapping{from: from, to: strings.Join(tokens, ".")}
	if !Valid(m.to) {
		return nil, fmt.Errorf("%w %q", ErrBadSubject, to)
	}
	if named && strings.Contains("."+to+".", ".*.") {
		return nil, errUnpaired
	}
	return m, m.pair(places)
}

var wildcardCall = regexp.MustCompile(`(?i)^\{\{\s*wildcard\(\s*([0-9]+)\s*\)\s*\}\}$`)

// wildcardToken reads the number of a token that names a wildcard.
func wildcardToken(token string) (n int, ok bool, err error) {
	if strings.HasPrefix(token, "{{") {
		call := wildcardCall.FindStringSubmatch(token)
		if call == nil {
			return 0, false, fmt.Errorf("%w, not %s", errOnlyWild, token)
		}
		n, err = strconv.Atoi(call[1])
		return n, err == nil, err
	}
	if digits, named := strings.CutPrefix(token, "$"); named && digits != "" && strings.Trim(digits, "0123456789") == "" {
		n, err = strconv.Atoi(digits)
		return n, err == nil, err
	}
	return 0, false, nil
}

// pair makes the transforms, where the i-th wildcard of to is the one of from
// that places[i] counts from 1.
func (m *Mapping) pair(places []int) error {
	fromTokens, toTokens := Tokens(m.from), Tokens(m.to)
	if (fromTokens[len(fromTokens)-1] == ">") != (toTokens[len(toTokens)-1] == ">") {
		return errRest
	}
	inverse := make([]int, len(places)+1)
	for i, place := range places {
		if place < 1 || place > len(places) || inverse[place] != 0 {
			return errUnpaired
		}
		inverse[place] = i + 1
	}
	if numberWildcards(toTokens, places) != len(places) || numberWildcards(fromTokens, inverse[1:]) != len(places) {
		return errUnpaired
	}
	if m.from == m.to && slices.IsSorted(places) {
		return nil
	}
	var err error
	if m.forward, err = NewTransform(m.from, strings.Join(toTokens, ".")); err != nil {
		return err
	}
	m.back, err = NewTransform(m.to, strings.Join(fromTokens, "."))
	return err
}

// numberWildcards replaces each '*' by what names its counterpart, and returns
// how many there are.
func numberWildcards(tokens []string, counterparts []int) (n int) {
	for i, token := range tokens {
		if token != "*" {
			continue
		}
		if n < len(counterparts) {
			tokens[i] = "$" + strconv.Itoa(counterparts[n])
		}
		n++
	}
	return n
}

// From and To are the patterns on both sides.
func (m *Mapping) From() string { return m.from }
func (m *Mapping) To() string   { return m.to }

// Inverse is the mapping from To to From.
func (m *Mapping) Inverse() *Mapping {
	return &Mapping{from: m.to, to: m.from, forward: m.back, back: m.forward}
}

// Apply maps a literal subject that From matches. One that it does not match
// comes back as it is, with false.
func (m *Mapping) Apply(literal string) (string, bool) {
	if m.forward == nil {
		return literal, Match(literal, m.from)
	}
	return m.forward.Apply(literal)
}

// Origin is the pattern of those subjects of From that are mapped to subjects
// which the pattern matches; false when there are none.
func (m *Mapping) Origin(pattern string) (string, bool) {
	both, ok := Intersection(pattern, m.to)
	if !ok || m.back == nil {
		return both, ok
	}
	return m.back.Apply(both)
}

// Intersection is the pattern of the subjects that both patterns match; false
// when there are none.
func Intersection(a, b string) (string, bool) {
	at, bt := Tokens(a), Tokens(b)
	both := make([]string, 0, max(len(at), len(bt)))
	for i := 0; ; i++ {
		switch {
		case i == len(at) || i == len(bt):
			return strings.Join(both, "."), len(at) == len(bt)
		case at[i] == ">" && i == len(at)-1:
			return strings.Join(append(both, bt[i:]...), "."), true
		case bt[i] == ">" && i == len(bt)-1:
			return strings.Join(append(both, at[i:]...), "."), true
		case at[i] == bt[i] || bt[i] == "*":
			both = append(both, at[i])
		case at[i] == "*":
			both = append(both, bt[i])
		default:
			return "", false
		}
	}
}
