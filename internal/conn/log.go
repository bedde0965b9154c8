package conn

import "fmt"

// prefix names the client in log lines.
func (c *client) prefix() string {
	info := c.info.Load()
	p := fmt.Sprintf("%s:%d - cid:%d", info.Host, info.Port, c.id)
	switch {
	case info.Account == "":
		return p
	case info.User == "":
		return fmt.Sprintf("%s - %q", p, info.Account)
	}
	return fmt.Sprintf("%s - %q", p, info.Account+"/user:"+info.User)
}

func (c *client) errorf(format string, args ...any) {
	c.server.logger.Errorf("%s - %s", c.prefix(), fmt.Sprintf(format, args...))
}

func (c *client) noticef(format string, args ...any) {
	c.server.logger.Noticef("%s - %s", c.prefix(), fmt.Sprintf(format, args...))
}

func (c *client) tracef(format string, args ...any) {
	c.server.logger.Tracef("%s - %s", c.prefix(), fmt.Sprintf(format, args...))
}

func (c *client) debugf(format string, args ...any) {
	c.server.logger.Debugf("%s - %s", c.prefix(), fmt.Sprintf(format, args...))
}
