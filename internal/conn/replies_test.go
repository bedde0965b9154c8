package conn

import (
	"fmt"
	"strings"
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

// Long reply subjects are remembered within a bound of bytes, the last ones for certain.
func TestLongRepliesAllowed(t *testing.T) {
	now := time.Unix(1000, 0)
	r := replies{permission: &conf.ResponsePermission{MaxMsgs: 1}}
	long := strings.Repeat("x", 4000)
	subject := func(i int) []byte { return fmt.Append(nil, long, i) }
	const certain = keptReplyBytes / 4010
	const n = 5*certain + 1
	bytesOf := func(m map[string]*reply) (n int) {
		for s := range m {
			n += len(s)
		}
		return n
	}
	for i := range n {
		r.allow(subject(i), now)
		r.allow(subject(i), now)
		if i%3 == 0 && !r.use(subject(i), now) {
			t.Fatalf("the answer to request %d is not allowed", i)
		}
	}
	if kept := bytesOf(r.recent) + bytesOf(r.older); kept > 2*keptReplyBytes {
		t.Fatalf("%d bytes of subjects are remembered", kept)
	}
	if r.recentBytes != bytesOf(r.recent) {
		t.Errorf("%d bytes are counted where %d are remembered", r.recentBytes, bytesOf(r.recent))
	}
	for i := n - certain; i < n; i++ {
		if i%3 != 0 && !r.use(subject(i), now) {
			t.Fatalf("the answer to request %d of %d is not allowed", i, n)
		}
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
