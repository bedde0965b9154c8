package conn

import (
	"context"
	"time"
)

// LameDuck empties the server: it takes no new clients, tells those that
// understand it to go elsewhere, waits for grace, and then disconnects the
// remaining ones one by one over the rest of duration. It returns when the last one
// was sent away or ctx ends; Shutdown is still to be called.
func (s *Server) LameDuck(ctx context.Context, grace, duration time.Duration) error {
	s.mu.Lock()
	s.lameDuck = true
	listener := s.listener
	s.mu.Unlock()
	if listener != nil {
		listener.Close()
	}
	s.logger.Noticef("Entering lame duck mode, stop accepting new clients")
	s.pushInfo()
	if err := s.pause(ctx, grace); err != nil {
		return err
	}
	clients := s.snapshot()
	if len(clients) == 0 {
		return nil
	}
	s.logger.Noticef("Closing existing clients")
	// With many clients several are closed at a time.
	const shortestPause = time.Millisecond
	pause := (duration - grace) / time.Duration(len(clients))
	batch := 1
	if pause < shortestPause {
		pause = shortestPause
		batch = int(max(int64(len(clients))*int64(shortestPause)/int64(max(duration-grace, shortestPause)), 1))
	}
	for i, c := range clients {
		c.end(ReasonServerShutdown, "")
		if i == len(clients)-1 || (i+1)%batch != 0 {
			continue
		}
		if err := s.pause(ctx, pause); err != nil {
			return err
		}
	}
	return nil
}

func (s *Server) pause(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	ticker := s.clock.NewTicker(d)
	defer ticker.Stop()
	select {
	case <-ticker.C():
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
