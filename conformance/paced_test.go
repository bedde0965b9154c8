package conformance

import (
	"context"
	"testing"
	"time"
)

// publishPause is what a paced publisher waits between two messages, so that 200
// consumers can keep up on two cores.
const publishPause = 60 * time.Millisecond

// startPacedPublishers starts a publisher for each stream of the trial, which
// publishes to its parts in turn.
func startPacedPublishers(ctx context.Context, t *testing.T, urls string) *publishers {
	t.Helper()
	p := newPublishers(len(trialStreams))
	for i, cfg := range trialStreams {
		_, js := connectQuick(t, urls)
		p.running.Go(func() {
			for n := 0; ctx.Err() == nil && !p.stopped(); n++ {
				to := part{cfg.Name, n % trialParts}
				p.one(ctx, js, to.subject(), to.messageID(n), i)
				select {
				case <-p.stop:
				case <-time.After(publishPause):
				}
			}
		})
	}
	return p
}
