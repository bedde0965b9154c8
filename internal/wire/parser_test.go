package wire

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

// transcript writes down what it is called with.
type transcript struct{ lines []string }

func (r *transcript) add(format string, args ...any) error {
	r.lines = append(r.lines, fmt.Sprintf(format, args...))
	return nil
}

func (r *transcript) Connect(json []byte) error { return r.add("connect %s", json) }
func (r *transcript) Info(json []byte) error    { return r.add("info %s", json) }
func (r *transcript) Ping() error               { return r.add("ping") }
func (r *transcript) Pong() error               { return r.add("pong") }
func (r *transcript) OK() error                 { return r.add("ok") }
func (r *transcript) Err(text []byte) error     { return r.add("err %s", text) }
func (r *transcript) Pub(m *Msg) error          { return r.add("pub %s", describe(m)) }
func (r *transcript) Sub(subject, queue, sid []byte) error {
	return r.add("sub %s queue=%s sid=%s", subject, queue, sid)
}
func (r *transcript) Unsub(sid []byte, max int) error { return r.add("unsub %s %d", sid, max) }

func describe(m *Msg) string {
	return fmt.Sprintf("%s reply=%s header=%q payload=%q", m.Subject, m.Reply, m.Header, m.Payload)
}

// run parses stream in pieces of n bytes, each in a buffer that is overwritten
// afterwards.
func run(limits Limits, stream string, n int) string {
	p := NewParser(limits)
	r := new(transcript)
	buf := make([]byte, n)
	for len(stream) > 0 {
		piece := buf[:copy(buf, stream)]
		stream = stream[len(piece):]
		if err := p.Parse(piece, r); err != nil {
			var protocol *ProtocolError
			if !errors.As(err, &protocol) {
				return "not a protocol error: " + err.Error()
			}
			r.add("fault %s", protocol.Text)
			break
		}
		for i := range piece {
			piece[i] = '#'
		}
	}
	return strings.Join(r.lines, "\n")
}

func TestParser(t *testing.T) {
	limits := Limits{MaxControlLine: 64, MaxPayload: 100}
	for _, c := range []struct{ stream, want string }{
		{"PING\r\npong\r\nPiNg  \nPING x\r\n", "ping\npong\nping\nping"},
		{"CONNECT {\"a\": 1} \r\n", `connect {"a": 1}`},
		{"INFO {}\r\n+OK\r\n-ERR 'foo bar'\r\n", "info {}\nok\nerr foo bar"},
		{"PUB a 2\r\nhi\r\nPING\r\n", "pub a reply= header=\"\" payload=\"hi\"\nping"},
		{"pub \t a   b 2\t\r\nhi\r\n", `pub a reply=b header="" payload="hi"`},
		{"PUB a 0\n\r\n", `pub a reply= header="" payload=""`},
		{"PUB a 4\r\n\r\n\r\n\r\n", `pub a reply= header="" payload="\r\n\r\n"`},
		{"HPUB a 12 14\r\nNATS/1.0\r\n\r\nhi\r\n", `pub a reply= header="NATS/1.0\r\n\r\n" payload="hi"`},
		{"HPUB a r 12 12\r\nNATS/1.0\r\n\r\n\r\n", `pub a reply=r header="NATS/1.0\r\n\r\n" payload=""`},
		{"HPUB a 0 2\r\nhi\r\n", `pub a reply= header="" payload="hi"`},
		{"SUB a 1\r\nSUB a.> q 2\r\n", "sub a queue= sid=1\nsub a.> queue=q sid=2"},
		{"UNSUB 1\r\nUNSUB 2 5\r\nUNSUB 2 -1\r\nUNSUB 2 x\r\n", "unsub 1 0\nunsub 2 5\nunsub 2 0\nunsub 2 0"},

		{"FOO\r\n", "fault Unknown Protocol Operation"},
		{"PING\r\nXYZ", "ping\nfault Unknown Protocol Operation"},
		{"\x16\x03\x01", "fault Unknown Protocol Operation"},
		{"\r\nPING\r\n", "fault Unknown Protocol Operation"},
		{" PING\r\n", "fault Unknown Protocol Operation"},
		{"P\r\n", "fault Unknown Protocol Operation"},
		{"SUB\r\n", "fault Unknown Protocol Operation"},
		{"MSG a 1 2\r\nhi\r\n", "fault Unknown Protocol Operation"},
		{"SUB \r\n", "fault Parser Error"},
		{"SUB a\r\n", "fault Parser Error"},
		{"SUB a b c d\r\n", "fault Parser Error"},
		{"SUB a b c d e f g h\r\n", "fault Parser Error"},
		{"UNSUB 1 2 3\r\n", "fault Parser Error"},
		{"PUB a\r\n", "fault Parser Error"},
		{"PUB a b c 1\r\n", "fault Parser Error"},
		{"PUB a x\r\n", "fault Parser Error"},
		{"PUB a -1\r\n", "fault Parser Error"},
		{"PUB a 9999999999\r\n", "fault Parser Error"},
		{"HPUB a 2\r\n", "fault Parser Error"},
		{"HPUB a 14 12\r\n", "fault Parser Error"},
		{"PUB a 101\r\n", "fault Maximum Payload Violation"},
		{"PUB a 2\r\nhix\r\n", "fault Unknown Protocol Operation"},
		{"PUB a 2\r\nhi\n\nPING\r\n", "fault Unknown Protocol Operation"},
		{"SUB " + strings.Repeat("a", 62) + " 1\r\n", "sub " + strings.Repeat("a", 62) + " queue= sid=1"},
		{"SUB " + strings.Repeat("a", 63) + " 1\r\n", "fault maximum control line exceeded"},
		{"SUB " + strings.Repeat("a", 1000), "fault maximum control line exceeded"},
	} {
		for _, n := range []int{len(c.stream), 1, 3, 7} {
			if got := run(limits, c.stream, n); got != c.want {
				t.Errorf("%q in pieces of %d:\n%s\nwant\n%s", c.stream, n, got, c.want)
			}
		}
	}
}

func TestParserReturnsHandlerErrors(t *testing.T) {
	want := errors.New("no")
	h := failing{new(transcript), want}
	if err := NewParser(Limits{}).Parse([]byte("PING\r\nPING\r\n"), h); err != want {
		t.Errorf("Parse = %v", err)
	}
}

type failing struct {
	*transcript
	err error
}

func (f failing) Ping() error { return f.err }

func TestParserKeepsNoLargePayload(t *testing.T) {
	p := NewParser(Limits{})
	size := 1 << 20
	for _, piece := range []string{
		fmt.Sprintf("PUB a %d\r\n", size), strings.Repeat("x", size-1), "x\r\n",
	} {
		if cap(p.payload) > 2*size {
			t.Fatalf("%d bytes reserved", cap(p.payload))
		}
		if err := p.Parse([]byte(piece), count{}); err != nil {
			t.Fatal(err)
		}
	}
	if p.payload != nil {
		t.Errorf("%d bytes kept", cap(p.payload))
	}
}

// count takes everything and does nothing.
type count struct{}

func (count) Connect([]byte) error     { return nil }
func (count) Info([]byte) error        { return nil }
func (count) Pub(*Msg) error           { return nil }
func (count) Sub(_, _, _ []byte) error { return nil }
func (count) Unsub([]byte, int) error  { return nil }
func (count) Ping() error              { return nil }
func (count) Pong() error              { return nil }
func (count) OK() error                { return nil }
func (count) Err([]byte) error         { return nil }

func TestParserDoesNotAllocate(t *testing.T) {
	p := NewParser(Limits{})
	stream := []byte("PUB orders.eu reply 5\r\nhello\r\nHPUB a 12 14\r\nNATS/1.0\r\n\r\nhi\r\nSUB a q 1\r\nUNSUB 1 2\r\nPING\r\n")
	half := len("PUB orders.eu reply 5\r\nhel")
	var h Handler = count{}
	for name, f := range map[string]func(){
		"whole": func() { p.Parse(stream, h) },
		"halves": func() {
			p.Parse(stream[:half], h)
			p.Parse(stream[half:], h)
		},
	} {
		f()
		if n := testing.AllocsPerRun(100, f); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

// FuzzParser checks that no input breaks the parser and that what it makes of
// a stream does not depend on how the stream is cut.
func FuzzParser(f *testing.F) {
	f.Add("PUB a 2\r\nhi\r\nPING\r\n", 3)
	f.Add("HPUB a b 12 14\r\nNATS/1.0\r\n\r\nhi\r\nSUB a q 1\r\nUNSUB 1 1\r\n", 5)
	f.Add("CONNECT {}\r\nINFO {}\r\n+OK\r\n-ERR 'x'\r\nPONG\r\n", 1)
	f.Fuzz(func(t *testing.T, stream string, n int) {
		if n < 1 || n > 64 {
			return
		}
		limits := Limits{MaxControlLine: 64, MaxPayload: 64}
		whole := run(limits, stream+"\r\n", len(stream)+2)
		pieces := run(limits, stream+"\r\n", n)
		if whole != pieces {
			t.Fatalf("%q whole:\n%s\nin pieces of %d:\n%s", stream, whole, n, pieces)
		}
	})
}

func BenchmarkParsePub(b *testing.B) {
	stream := []byte(strings.Repeat("PUB orders.eu 128\r\n"+strings.Repeat("x", 128)+"\r\n", 100))
	p := NewParser(Limits{})
	b.SetBytes(int64(len(stream)))
	b.ReportAllocs()
	for range b.N {
		if err := p.Parse(stream, count{}); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.N*100)/b.Elapsed().Seconds(), "msg/s")
}
