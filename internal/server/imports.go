package server

import (
	"encoding/json"
	"fmt"

	"weir/internal/base"
	"weir/internal/jetstream"
	"weir/internal/router"
)

// serveImports lets requests pass between accounts.
func (s *Server) serveImports() error {
	env := router.ImportEnv{Clock: s.clock, Describe: s.describeRequestor, Many: jetstream.ManyAnswers, Tail: jetstream.ReplyTail}
	if err := s.router.ServeImports(s.accounts.Accounts(), env); err != nil {
		return fmt.Errorf("imports of accounts: %w", err)
	}
	return nil
}

// describeRequestor is what a service is told of who asks. The server is that of a
// client that shares who it is.
func (s *Server) describeRequestor(c *router.ClientInfo) []byte {
	info := jetstream.DescribeClient(c)
	if c.ID != 0 {
		info.Server, info.Cluster = s.name, s.clusterName()
	}
	text, err := json.Marshal(info)
	base.Assert(err == nil, "encode client info of account %s: %v", c.Account, err)
	return text
}
