package differential

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
)

// Users other than "".
const (
	limitedUser = "limited"
	systemUser  = "system"
)

// step is one request.
type step struct {
	as      string // the user who sends it; "" is the one of the account without limits
	subject string
	header  nats.Header
	body    string
	// silent means that no answer may come.
	silent bool
}

// reads tells that the request changes nothing, so it may be repeated while a replica
// that lags behind answers it.
func (s *step) reads() bool {
	verb, ok := strings.CutPrefix(s.subject, "$JS.API.")
	if !ok {
		return false
	}
	switch tokens := append(strings.Split(verb, "."), ""); tokens[0] + "." + tokens[1] {
	case "INFO.", "STREAM.INFO", "STREAM.LIST", "STREAM.NAMES", "DIRECT.GET", "CONSUMER.INFO", "CONSUMER.LIST", "CONSUMER.NAMES":
		return true
	case "STREAM.MSG":
		return tokens[2] == "GET"
	}
	return false
}

// many tells that the answers of a batched get are asked for, up to the one that ends
// them.
func (s *step) many() bool {
	var doc map[string]json.RawMessage
	if !strings.HasPrefix(s.subject, "$JS.API.DIRECT.GET.") || json.Unmarshal([]byte(s.body), &doc) != nil {
		return false
	}
	return doc["batch"] != nil || doc["multi_last"] != nil
}

// String is the step as a reader may repeat it; parseStep reads it.
func (s *step) String() string {
	var b strings.Builder
	if s.silent {
		b.WriteString("~ ")
	}
	if s.as != "" {
		b.WriteString(s.as + ": ")
	}
	fmt.Fprintf(&b, "%s", s.subject)
	for _, k := range slices.Sorted(maps.Keys(s.header)) {
		fmt.Fprintf(&b, " [%s: %s]", k, strings.Join(s.header[k], ", "))
	}
	if s.body != "" {
		fmt.Fprintf(&b, " %s", s.body)
	}
	return b.String()
}

// parseStep reads a step as String writes it.
func parseStep(line string) (*step, error) {
	s := &step{}
	line, s.silent = strings.CutPrefix(line, "~ ")
	if as, rest, ok := strings.Cut(line, ": "); ok && !strings.ContainsAny(as, " [{.") {
		s.as, line = as, rest
	}
	s.subject, line, _ = strings.Cut(line, " ")
	for strings.HasPrefix(line, "[") {
		field, rest, ok := strings.Cut(line[1:], "]")
		name, value, named := strings.Cut(field, ": ")
		if !ok || !named {
			break // a body
		}
		if s.header == nil {
			s.header = nats.Header{}
		}
		s.header[name] = append(s.header[name], value)
		line = strings.TrimPrefix(rest, " ")
	}
	s.body = line
	if s.subject == "" {
		return nil, errors.New("no subject")
	}
	return s, nil
}

// answer is what came back.
type answer struct {
	msgs []*nats.Msg
	err  string // none of them
}

const (
	answerTime = 5 * time.Second
	silentTime = 150 * time.Millisecond
)

// ask does a step.
func ask(nc *nats.Conn, s *step) (*answer, error) {
	inbox := nc.NewInbox()
	sub, err := nc.SubscribeSync(inbox)
	if err != nil {
		return nil, err
	}
	defer sub.Unsubscribe() //nolint:errcheck // the connection may be gone
	m := &nats.Msg{Subject: s.subject, Reply: inbox, Header: s.header, Data: []byte(s.body)}
	if err := nc.PublishMsg(m); err != nil {
		return nil, err
	}
	wait := answerTime
	if s.silent {
		wait = silentTime
	}
	a := &answer{}
	for {
		m, err := sub.NextMsg(wait)
		if errors.Is(err, nats.ErrTimeout) {
			a.err = "no answer"
			return a, nil
		}
		if errors.Is(err, nats.ErrNoResponders) {
			a.err = "no responders"
			return a, nil
		}
		if err != nil {
			return nil, err
		}
		a.msgs = append(a.msgs, m)
		if !s.many() || m.Header.Get("Status") != "" {
			return a, nil
		}
	}
}
