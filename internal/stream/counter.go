package stream

import (
	"encoding/json"
	"math/big"
	"strings"

	"weir/internal/apierr"
	"weir/internal/base"
	"weir/internal/msg"
)

// counterSources has the totals that were last taken over: origin → subject there → total (ADR-49). The last message of each subject of
// a counter that has sources carries it.
type counterSources map[string]map[string]string

// validIncrement tells whether a Nats-Incr value is a number.
func validIncrement(incr string) bool {
	_, ok := new(big.Int).SetString(incr, 10)
	return ok
}

// count turns a message with a valid increment into one that holds the subject's new total, and returns it. What a copied message adds is
// the difference between its total and the one that was taken over before it.
func (s *Stream) count(d *directives, m *msg.Message) (string, *apierr.Error, error) {
	total, sources, e, err := s.lastCount(m.Subject)
	if e != nil || err != nil {
		return "", e, err
	}
	step, ok := new(big.Int).SetString(d.incr, 10)
	base.Assert(ok, "increment %q was checked", d.incr)
	if d.copied {
		if !sources.takeOver(m, step) {
			return "", apierr.JSMessageCounterBrokenErr, nil
		}
		m.Header = setHeader(m.Header, headerIncr, step.String())
	}
	if len(sources) > 0 {
		doc, err := json.Marshal(sources)
		base.Assert(err == nil, "the sources of a counter can not be encoded: %v", err)
		m.Header = setHeader(m.Header, headerCounterSources, string(doc))
	}
	value := total.Add(total, step).String()
	m.Data = []byte(`{"val":"` + value + `"}`)
	return value, nil, nil
}

// lastCount is what the last message of a subject holds; zero when there is none.
func (s *Stream) lastCount(literal string) (total *big.Int, sources counterSources, e *apierr.Error, err error) {
	total, sources = new(big.Int), counterSources{}
	last, ok, err := s.store.LastFor(literal)
	if err != nil || !ok {
		return total, sources, nil, err
	}
	var old msg.Message
	found, err := s.store.Load(last, &old, nil)
	if err != nil {
		return total, sources, nil, err
	}
	base.Assert(found, "the last message of %q, %d, is not stored", literal, last)
	if !counterValue(old.Data, total) {
		return total, sources, apierr.JSMessageCounterBrokenErr, nil
	}
	if doc := headerValue(old.Header, headerCounterSources); doc != nil && json.Unmarshal(doc, &sources) != nil { // its publisher made it up
		return total, sources, apierr.JSMessageCounterBrokenErr, nil
	}
	return total, sources, nil, nil
}

// takeOver notes the total of a copied message and sets step to what it adds; false when it is no counter.
func (c counterSources) takeOver(m *msg.Message, step *big.Int) bool {
	from := strings.Fields(string(headerValue(m.Header, headerStreamSource)))
	total := new(big.Int)
	if len(from) < 5 || !counterValue(m.Data, total) {
		return false
	}
	origin, literal := from[0], from[4]
	before, ok := new(big.Int).SetString(c[origin][literal], 10)
	if !ok {
		before = new(big.Int)
	}
	if c[origin] == nil {
		c[origin] = map[string]string{}
	}
	c[origin][literal] = total.String()
	step.Sub(total, before)
	return true
}

// counterValue reads the body of a counter message.
func counterValue(body []byte, total *big.Int) bool {
	var doc struct {
		Value string `json:"val"`
	}
	if json.Unmarshal(body, &doc) != nil {
		return false
	}
	_, ok := total.SetString(doc.Value, 10)
	return ok
}
