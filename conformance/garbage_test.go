package conformance

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"weir/conformance/procs"
)

func address(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }

// answerTime is how long a server may take to answer or to close a connection.
const answerTime = 30 * time.Second

// TestGarbageOnPorts sends what is no protocol to every port of a cluster. The
// connection is closed and the cluster goes on with what it has.
func TestGarbageOnPorts(t *testing.T) {
	ctx := trialContext(t)
	c := startCluster(ctx, t, 3, "")
	_, js := connect(t, c.URLs())
	if _, err := js.CreateStream(ctx, jetstream.StreamConfig{Name: "KEEP", Subjects: []string{"keep"}, Replicas: 3}); err != nil {
		t.Fatal(err)
	}
	if _, err := js.Publish(ctx, "keep", []byte("this")); err != nil {
		t.Fatal(err)
	}
	n := c.Nodes[0]
	for port, name := range map[int]string{n.Client: "client", n.Monitor: "monitoring", n.Route: "cluster"} {
		for kind, data := range garbage() {
			t.Run(name+" port, "+kind, func(t *testing.T) {
				answer := exchange(t, port, data, port != n.Client)
				if port == n.Client {
					wantAll(t, answer, "-ERR")
				}
			})
		}
	}
	for _, n := range c.Nodes {
		if err := n.Ready(ctx); err != nil {
			t.Error(err)
		}
	}
	stream, err := js.Stream(ctx, "KEEP")
	if err != nil {
		t.Fatal(err)
	}
	if m, err := stream.GetMsg(ctx, 1); err != nil || string(m.Data) != "this" {
		t.Errorf("the message is now %v, %v", m, err)
	}
	if _, err := js.Publish(ctx, "keep", []byte("that")); err != nil {
		t.Error(err)
	}
}

func garbage() map[string][]byte {
	noise := make([]byte, 64<<10)
	source := rand.New(rand.NewPCG(1, 2))
	for i := range noise {
		noise[i] = byte(source.Uint32())
	}
	return map[string][]byte{
		"noise":      noise,
		"zeros":      make([]byte, 64<<10),
		"long line":  bytes.Repeat([]byte("A"), 64<<10),
		"TLS hello":  append([]byte{22, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3}, noise[:500]...),
		"route INFO": []byte("INFO {\"server_id\":\"X\",\"version\":\"2.15.2\",\"cluster\":\"trial\"}\r\nCONNECT {}\r\nPING\r\n+X\r\n"),
	}
}

// exchange sends bytes, says that no more will come if thatIsAll, and returns all
// that the server sends until it closes.
func exchange(t *testing.T, port int, data []byte, thatIsAll bool) string {
	t.Helper()
	conn, err := net.Dial("tcp", address(port))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(answerTime)); err != nil {
		t.Fatal(err)
	}
	_, _ = conn.Write(data) // the server may close before it has read all
	if thatIsAll {
		_ = conn.(*net.TCPConn).CloseWrite()
	}
	answer, err := io.ReadAll(conn)
	var timeout net.Error
	if errors.As(err, &timeout) && timeout.Timeout() {
		t.Errorf("still open after %v; got %.200q", answerTime, answer)
	}
	return string(answer)
}

// TestBadProtocol sends operations that are wrong; the error says how.
func TestBadProtocol(t *testing.T) {
	ctx := trialContext(t)
	n := startCluster(ctx, t, 1, "max_payload: 1000\n").Nodes[0]
	const hello = "CONNECT {\"verbose\":false,\"pedantic\":true}\r\nPING\r\n"
	for _, test := range []struct {
		name, send string
		want       string // in the answer; of what closes without one, in the log
		closes     bool
	}{
		{"oversized payload", "PUB a 1001\r\n" + strings.Repeat("x", 1001) + "\r\n", "Maximum Payload Violation", true},
		{"endless payload", "PUB a 99999999999999999999\r\n", "PUB a 99999999999999999999", true},
		{"negative payload", "PUB a -1\r\n", "PUB a -1", true},
		{"payload longer than said", "PUB a 2\r\nxyz\r\n", "-ERR", true},
		{"header longer than message", "HPUB a 9 2\r\nxx\r\n", "HPUB a 9 2", true},
		{"bad subject to subscribe", "SUB a..b 1\r\n", "Invalid Subject", false},
		{"bad subject to publish", "PUB a..b 0\r\n\r\n", "Invalid Publish Subject", false},
		{"wildcard to publish", "PUB a.* 0\r\n\r\n", "Invalid Publish Subject", false},
		{"malformed CONNECT", "CONNECT {\"verbose\":\r\n", "unexpected end of JSON input", true},
		{"wrong type in CONNECT", "CONNECT {\"verbose\":7}\r\n", "cannot unmarshal number", true},
		{"unknown operation", "FETCH a\r\n", "Unknown Protocol Operation", true},
	} {
		t.Run(test.name, func(t *testing.T) {
			send := hello + test.send
			if test.closes {
				answer := exchange(t, n.Client, []byte(send), false)
				wantAll(t, answer+n.Log(), test.want)
				return
			}
			// What comes after it is still served; the last line closes.
			answer := exchange(t, n.Client, []byte(send+"SUB ok 2\r\nPUB ok 2\r\nhi\r\nFETCH\r\n"), false)
			wantAll(t, answer, test.want, "MSG ok 2 2\r\nhi\r\n")
		})
	}
	if err := n.Ready(ctx); err != nil {
		t.Error(err)
	}
}

// TestBadRequests sends JetStream what it must refuse.
func TestBadRequests(t *testing.T) {
	ctx := trialContext(t)
	c := startCluster(ctx, t, 3, "")
	nc, js := connect(t, c.URLs())
	if _, err := js.CreateStream(ctx, jetstream.StreamConfig{Name: "S", Subjects: []string{"s"}, Replicas: 3}); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name, subject, body string
		code, errCode       int
	}{
		{"unknown stream", "STREAM.INFO.NONE", "", 404, 10059},
		{"unknown stream's consumer", "CONSUMER.INFO.NONE.C", "", 404, 10059},
		{"unknown consumer", "CONSUMER.INFO.S.NONE", "", 404, 10014},
		{"unknown message", "STREAM.MSG.GET.S", `{"seq":7}`, 404, 10037},
		{"malformed JSON", "STREAM.CREATE.X", `{"name":"X",`, 400, 10025},
		{"wrong type in JSON", "STREAM.CREATE.X", `{"name":"X","subjects":7}`, 400, 10025},
		{"malformed JSON for a consumer", "CONSUMER.CREATE.S.C", `{`, 400, 10025},
		{"name that does not match", "STREAM.CREATE.X", `{"name":"Y","subjects":["y"]}`, 400, 10056},
		{"bad subject of a stream", "STREAM.CREATE.X", `{"name":"X","subjects":["a..b"]}`, 500, 10052},
		{"too many replicas", "STREAM.CREATE.X", `{"name":"X","subjects":["x"],"num_replicas":7}`, 500, 10052},
		{"overlapping subjects", "STREAM.CREATE.X", `{"name":"X","subjects":["*"],"num_replicas":3}`, 400, 10065},
	} {
		t.Run(test.name, func(t *testing.T) {
			wantAPIError(ctx, t, nc, test.subject, test.body, test.code, test.errCode)
		})
	}
	t.Run("publish to no stream", func(t *testing.T) {
		if _, err := js.Publish(ctx, "nowhere", nil, jetstream.WithRetryAttempts(0)); !errors.Is(err, jetstream.ErrNoStreamResponse) {
			t.Errorf("got %v", err)
		}
	})
	t.Run("payload beyond the limit", func(t *testing.T) {
		if err := nc.Publish("s", make([]byte, nc.MaxPayload()+1)); !errors.Is(err, nats.ErrMaxPayload) {
			t.Errorf("got %v", err)
		}
	})
	if _, err := js.Publish(ctx, "s", nil); err != nil {
		t.Error(err)
	}
	checkHealthy(ctx, t, c)
}

func wantAPIError(ctx context.Context, t *testing.T, nc *nats.Conn, subject, body string, code, errCode int) {
	t.Helper()
	m, err := nc.RequestWithContext(ctx, "$JS.API."+subject, []byte(body))
	if err != nil {
		t.Fatal(err)
	}
	var answer struct{ Error *jetstream.APIError }
	if err := json.Unmarshal(m.Data, &answer); err != nil {
		t.Fatalf("%v: %s", err, m.Data)
	}
	if e := answer.Error; e == nil || e.Code != code || int(e.ErrorCode) != errCode || e.Description == "" {
		t.Errorf("got %s, want code %d, err_code %d", m.Data, code, errCode)
	}
}

func checkHealthy(ctx context.Context, t *testing.T, c *procs.Cluster) {
	t.Helper()
	for _, n := range c.Nodes {
		if err := n.Ready(ctx); err != nil {
			t.Error(fmt.Errorf("after the trial: %w", err))
		}
	}
}
