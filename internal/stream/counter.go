package stream

import (
	"encoding/json"
	"math/big"

	"weir/internal/apierr"
	"weir/internal/base"
	"weir/internal/msg"
)

// validIncrement tells whether a Nats-Incr value is a number.
func validIncrement(incr string) bool {
	_, ok := new(big.Int).SetString(incr, 10)
	return ok
}

// count turns a message with a valid increment into one that holds the subject's new total, and returns it.
func (s *Stream) count(incr string, m *msg.Message) (string, *apierr.Error, error) {
	step, ok := new(big.Int).SetString(incr, 10)
	base.Assert(ok, "increment %q was checked", incr)
	last, ok, err := s.store.LastFor(m.Subject)
	if err != nil {
		return "", nil, err
	}
	total := new(big.Int)
	if ok {
		var old msg.Message
		found, err := s.store.Load(last, &old, nil)
		if err != nil {
			return "", nil, err
		}
		base.Assert(found, "the last message of %q, %d, is not stored", m.Subject, last)
		if !counterValue(old.Data, total) {
			return "", apierr.JSMessageCounterBrokenErr, nil
		}
	}
	value := total.Add(total, step).String()
	m.Data = []byte(`{"val":"` + value + `"}`)
	return value, nil, nil
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
