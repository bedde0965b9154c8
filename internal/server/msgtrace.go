package server

import "weir/internal/router"

// serveTraces lets messages be traced on their way.
func (s *Server) serveTraces() {
	s.router.ServeTraces(router.TraceEnv{Clock: s.clock, Peer: s.tracedPeer, Send: s.sendTrace})
}

// traceReply is a document about one message, and which server it is of.
type traceReply struct {
	Server *serverIdentity `json:"server"`
	*router.TraceDocument
}

func (s *Server) sendTrace(account, dest string, doc *router.TraceDocument) {
	if acc := s.accounts.Account(account); acc != nil {
		s.system.send(acc, dest, traceReply{s.system.identity(), doc})
	}
}

// tracedPeer is the connection for messages to a node, as /routez numbers it.
func (s *Server) tracedPeer(peer router.Remote) (id uint64, name string) {
	for i, l := range s.mesh.Stats() {
		if l.Peer.Node == peer.Node() && l.Kind == dataLink {
			return uint64(i + 1), l.Peer.Name
		}
	}
	return 0, ""
}
