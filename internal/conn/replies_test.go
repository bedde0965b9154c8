package conn

import (
	"fmt"
	"testing"
	"time"

	"weir/internal/conf"
)

// However many requests a client has received, it may answer the last ones.
func TestManyRepliesAllowed(t *testing.T) {
	now := time.Unix(1000, 0)
	r := replies{permission: &conf.ResponsePermission{MaxMsgs: 1, Expires: time.Minute}}
	subject := func(i int) []byte { return fmt.Append(nil, "_INBOX.", i) }
	const n = 5*keptReplies + 1
	for i := range n {
		r.allow(subject(i), now)
		if kept := len(r.recent) + len(r.older); kept > 2*keptReplies {
			t.Fatalf("%d subjects are remembered", kept)
		}
	}
	for i := n - keptReplies; i < n; i++ {
		if !r.use(subject(i), now) {
			t.Fatalf("the answer to request %d of %d is not allowed", i, n)
		}
		if r.use(subject(i), now) {
			t.Fatalf("a second answer to request %d is allowed", i)
		}
	}
	if r.use(subject(0), now) {
		t.Error("the answer to the first request is allowed still")
	}
	r.allow(subject(0), now)
	if r.use(subject(0), now.Add(time.Minute)) {
		t.Error("an answer is allowed when its time is over")
	}
}

// A request that comes again under one reply subject does not add to what is allowed.
func TestReplyAllowedAgain(t *testing.T) {
	now := time.Unix(1000, 0)
	r := replies{permission: &conf.ResponsePermission{MaxMsgs: 1}}
	r.allow([]byte("again"), now)
	for i := range keptReplies {
		r.allow(fmt.Append(nil, i), now)
	}
	r.allow([]byte("again"), now)
	if !r.use([]byte("again"), now) || r.use([]byte("again"), now) {
		t.Error("not exactly one answer is allowed")
	}
}
