package differential

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
)

// step is one request.
type step struct {
	subject string
	header  nats.Header
	body    string
	// many asks for the answers of a batched get, up to the one that ends them.
	many bool
	// reads means that the request changes nothing, so it may be repeated while a
	// replica that lags behind answers it.
	reads bool
	// silent means that no answer may come.
	silent bool
}

// String is the step as a reader may repeat it.
func (s *step) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s", s.subject)
	for k, v := range s.header {
		fmt.Fprintf(&b, " [%s: %s]", k, strings.Join(v, ", "))
	}
	if s.body != "" {
		fmt.Fprintf(&b, " %s", s.body)
	}
	return b.String()
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
		if !s.many || m.Header.Get("Status") != "" {
			return a, nil
		}
	}
}
