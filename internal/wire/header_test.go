package wire

import (
	"strings"
	"testing"
)

func TestHeaders(t *testing.T) {
	hdr := []byte("NATS/1.0\r\nA: 1\r\nb:2\r\nA:  3 \r\nEmpty:\r\n\r\n")
	for _, c := range []struct {
		key, want string
		ok        bool
	}{
		{"A", "1", true}, {"b", "2", true}, {"B", "", false}, {"Empty", "", true}, {"NATS/1.0", "", false},
	} {
		if v, ok := GetHeader(hdr, c.key); ok != c.ok || string(v) != c.want {
			t.Errorf("GetHeader(%q) = %q, %v", c.key, v, ok)
		}
	}
	for _, c := range []struct{ got, want string }{
		{string(DelHeader(hdr, "A")), "NATS/1.0\r\nb:2\r\nEmpty:\r\n\r\n"},
		{string(DelHeader(hdr, "x")), string(hdr)},
		{string(DelHeader([]byte("NATS/1.0\r\nA: 1\r\n\r\n"), "A")), ""},
		{string(DelHeader([]byte("NATS/1.0 100\r\nA: 1\r\n\r\n"), "A")), "NATS/1.0 100\r\n\r\n"},
		{string(SetHeader(hdr, "b", "9")), "NATS/1.0\r\nA: 1\r\nA:  3 \r\nEmpty:\r\nb: 9\r\n\r\n"},
		{string(SetHeader(nil, "b", "9")), "NATS/1.0\r\nb: 9\r\n\r\n"},
		{string(AppendHeader(hdr[:0], "b", "9")), "NATS/1.0\r\nb: 9\r\n\r\n"},
		{string(HeaderBlock("a", "1", "b", "2")), "NATS/1.0\r\na: 1\r\nb: 2\r\n\r\n"},
		{string(StatusBlock(503, "")), "NATS/1.0 503\r\n\r\n"},
		{string(StatusBlock(100, "Idle Heartbeat", "k", "v")), "NATS/1.0 100 Idle Heartbeat\r\nk: v\r\n\r\n"},
	} {
		if c.got != c.want {
			t.Errorf("got %q, want %q", c.got, c.want)
		}
	}
}

func TestStatus(t *testing.T) {
	for _, c := range []struct {
		hdr  string
		code int
		text string
		ok   bool
	}{
		{"NATS/1.0 503\r\n\r\n", 503, "", true},
		{"NATS/1.0 100 Idle Heartbeat\r\nA: 1\r\n\r\n", 100, "Idle Heartbeat", true},
		{"NATS/1.0\r\nA: 1\r\n\r\n", 0, "", false},
		{"NATS/1.0 \r\n\r\n", 0, "", false},
		{"", 0, "", false},
	} {
		code, text, ok := Status([]byte(c.hdr))
		if code != c.code || text != c.text || ok != c.ok {
			t.Errorf("Status(%q) = %d, %q, %v", c.hdr, code, text, ok)
		}
	}
}

// FuzzHeaders checks that no block breaks the helpers and that Set is seen by
// Get.
func FuzzHeaders(f *testing.F) {
	f.Add([]byte("NATS/1.0\r\nA: 1\r\n\r\n"), "A", "2")
	f.Fuzz(func(t *testing.T, hdr []byte, key, value string) {
		Status(hdr)
		DelHeader(hdr, key)
		if key == "" || strings.ContainsAny(key+value, "\r\n:") || strings.TrimSpace(value) != value {
			return
		}
		block := SetHeader(HeaderBlock("other", "x"), key, value)
		if got, ok := GetHeader(block, key); !ok || string(got) != value {
			t.Fatalf("GetHeader(%q) of %q = %q, %v", key, block, got, ok)
		}
	})
}

func TestEncoders(t *testing.T) {
	b := func(s string) []byte { return []byte(s) }
	for _, c := range []struct{ got, want string }{
		{string(AppendMsg(nil, b("a"), b("1"), nil, nil, b("hi"))), "MSG a 1 2\r\nhi\r\n"},
		{string(AppendMsg(nil, b("a"), b("1"), b("r"), nil, nil)), "MSG a 1 r 0\r\n\r\n"},
		{string(AppendMsg(nil, b("a"), b("1"), b("r"), b("NATS/1.0\r\n\r\n"), b("hi"))), "HMSG a 1 r 12 14\r\nNATS/1.0\r\n\r\nhi\r\n"},
		{string(AppendErr(nil, "Stale Connection")), "-ERR 'Stale Connection'\r\n"},
	} {
		if c.got != c.want {
			t.Errorf("got %q, want %q", c.got, c.want)
		}
	}
}

func TestParseConnect(t *testing.T) {
	options, err := ParseConnect([]byte(`{"user":"u","echo":false}`))
	if err != nil || options.User != "u" || options.Echo || !options.Verbose {
		t.Errorf("ParseConnect = %+v, %v", options, err)
	}
	for _, bad := range []string{"", "{", "[]", `"x"`, `{"verbose":"x"}`} {
		if _, err := ParseConnect([]byte(bad)); err == nil {
			t.Errorf("ParseConnect(%q) succeeds", bad)
		}
	}
}
