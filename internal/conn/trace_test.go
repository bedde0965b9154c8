package conn

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	"weir/internal/base"
	"weir/internal/conf"
)

// traceLog keeps trace lines.
type traceLog struct {
	base.NopLogger
	mu    sync.Mutex
	lines []string
}

func (l *traceLog) Tracef(format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lines = append(l.lines, fmt.Sprintf(format, args...))
}

func (l *traceLog) has(text string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Contains(strings.Join(l.lines, "\n"), text)
}

func TestTrace(t *testing.T) {
	log := &traceLog{}
	h := startServerWithLog(t, conf.Default(), log, func(c *Config) { c.Trace = true })
	c := h.raw(t)
	c.send(`CONNECT {"verbose":false,"user":"derek","pass":"secret","protocol":1}` + "\r\nSUB a q 1\r\nPUB a b 5\r\nhello\r\nPING\r\n")
	c.expect("trace", "MSG a 1 b 5", "hello", "PONG")
	for _, want := range []string{
		`<<- [CONNECT {"verbose":false,"user":"derek","pass":"[REDACTED]","protocol":1}]`,
		"<<- [SUB a q 1]", "<<- [PUB a b 5]", `MSG_PAYLOAD: ["hello"]`, "->> [MSG a 1 b 5]", "<<- [PING]", "->> [PONG]",
	} {
		if !log.has(want) {
			t.Errorf("no %s in the trace", want)
		}
	}
	if log.has("secret") {
		t.Error("the trace shows a password")
	}
}
