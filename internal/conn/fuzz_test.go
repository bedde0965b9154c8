package conn

import (
	"bytes"
	"slices"
	"testing"

	"weir/internal/conf"
)

// Whatever a client sends, the server neither fails nor keeps anything of it
// once the connection is gone.
func FuzzClient(f *testing.F) {
	for _, text := range []string{
		quietConnect + "SUB a.* q 1\r\nPUB a.b r 2\r\nxx\r\nUNSUB 1 1\r\nPING\r\nPONG\r\n",
		quietConnect + "SUB > 1\r\nHPUB a 12 14\r\nNATS/1.0\r\n\r\nxx\r\nUNSUB 1\r\n",
		"CONNECT {\"verbose\":true}\r\nSUB a 1\r\nSUB a 1\r\nPUB a 0\r\n\r\n", "INFO {}\r\n-ERR 'x'\r\n",
	} {
		f.Add([]byte(text), 7)
	}
	h := startServer(f, &conf.Config{}, nil)
	f.Fuzz(func(t *testing.T, text []byte, chunk int) {
		c := newClient(h.Server, nullConn{}, h.lastID.Add(1), "STANDARD")
		go c.write()
		chunk = max(1, min(chunk, len(text)))
		for part := range slices.Chunk(text, chunk) {
			if !c.handle(bytes.Clone(part)) {
				break
			}
		}
		c.end(ReasonClientClosed, "")
		c.gone()
		if n := h.Stats().Subscriptions; n != 0 {
			t.Fatalf("%d subscriptions left", n)
		}
	})
}
