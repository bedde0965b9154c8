package conn

import (
	"weir/internal/router"
	"weir/internal/wire"
)

// pubTraced publishes a message whose way is traced. A client has to be allowed to
// publish where the documents go.
func (c *client) pubTraced(t *router.Trace, m *wire.Msg) error {
	if dest := t.Dest(); !c.mayPublish([]byte(dest)) {
		c.errorf("Publish Violation - Trace Destination %q", dest)
		return c.refuse("Permissions Violation for Publish to %q", dest)
	}
	c.source = c.source.Traced(t)
	defer func() {
		c.source = c.source.Traced(nil)
		t.End()
	}()
	return c.mapAndPublish(m)
}
