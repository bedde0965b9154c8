package account

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"

	"weir/internal/conf"
	"weir/internal/subject"
)

// subjectMap has what is published to a subject go to others.
type subjectMap struct {
	source string
	dests  []destination
	// whole: the source is among its own destinations, so that what is no
	// destination's share is dropped. Otherwise it stays where it is.
	whole bool
}

type destination struct {
	upTo      int // percent, with the destinations before
	transform *subject.Transform
}

// Mappings are the account's mappings as configured; read-only.
func (a *Account) Mappings() []conf.Mapping { return a.settings.Load().configuredMappings }

// Maps tells whether the account may map the subject, quickly: for most subjects of most accounts it does not.
func (a *Account) Maps(subj []byte) bool {
	s := a.settings.Load()
	return s.mapsAny || s.domain != "" && bytes.HasPrefix(subj, []byte(s.domain))
}

// MapSubject is the subject that a message to a literal one goes to instead; that
// itself if nothing maps it. Of several mappings the most specific one counts.
// False: the message is to be dropped.
func (a *Account) MapSubject(literal string) (mapped string, ok bool) {
	for _, m := range a.settings.Load().mappings {
		if !subject.Match(literal, m.source) {
			continue
		}
		share := a.dice.IntN(100)
		for _, dest := range m.dests {
			if share < dest.upTo {
				mapped, _ = dest.transform.Apply(literal)
				return mapped, true
			}
		}
		return literal, !m.whole
	}
	return literal, true
}

// mappings compiles the mappings of an account for the servers of a cluster.
func (b *builder) mappings(a *Account, list []conf.Mapping, cluster string) error {
	s := b.settings[a]
	s.configuredMappings = append(s.configuredMappings, list...)
	for i := range list {
		m := subjectMap{source: list[i].Subject}
		upTo := 0
		for _, dest := range list[i].DestinationsIn(cluster) {
			t, err := subject.NewRandomTransform(m.source, dest.Subject, a.dice.IntN)
			if err != nil {
				return fmt.Errorf("mapping of %q in account %s: %w", m.source, a.name, err)
			}
			upTo += dest.Weight
			m.dests = append(m.dests, destination{upTo, t})
			m.whole = m.whole || dest.Subject == m.source
		}
		if len(m.dests) > 0 {
			s.mappings = append(s.mappings, m)
		}
	}
	slices.SortStableFunc(s.mappings, func(x, y subjectMap) int { return bySpecificity(x.source, y.source) })
	return nil
}

// domain maps the subjects of key-value and object stores that have JetStream's domain in front, as clients that name
// a domain put it there, to those of the stores.
func (b *builder) domain(a *Account, name string) error {
	s := b.settings[a]
	s.mapsAny = len(s.mappings) > 0
	if name == "" || s.jetStream == nil {
		return nil
	}
	s.domain = "$JS." + name + ".API.$"
	for _, subj := range []string{"$KV.>", "$OBJ.>"} {
		t, err := subject.NewTransform(s.domain+subj[1:], subj)
		if err != nil {
			return fmt.Errorf("domain of account %s: %w", a.name, err)
		}
		s.mappings = append(s.mappings, subjectMap{source: s.domain + subj[1:], dests: []destination{{100, t}}})
	}
	slices.SortStableFunc(s.mappings, func(x, y subjectMap) int { return bySpecificity(x.source, y.source) })
	return nil
}

// bySpecificity orders patterns by their first token that differs in kind: text,
// then '*', then '>'.
func bySpecificity(x, y string) int {
	xt, yt := subject.Tokens(x), subject.Tokens(y)
	for i := range min(len(xt), len(yt)) {
		if d := cmp.Compare(tokenKind(xt[i]), tokenKind(yt[i])); d != 0 {
			return d
		}
	}
	return 0
}

func tokenKind(token string) int {
	switch token {
	case ">":
		return 2
	case "*":
		return 1
	}
	return 0
}
