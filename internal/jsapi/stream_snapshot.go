package jsapi

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"weir/internal/account"
	"weir/internal/api"
	"weir/internal/apierr"
	"weir/internal/base"
	"weir/internal/jetstream"
	"weir/internal/router"
	"weir/internal/subject"
	"weir/internal/wire"
)

// Sizes of a backup's chunks, and of those that are sent and not acked, in bytes.
const (
	minSnapshotChunk     = 1 << 10
	defaultSnapshotChunk = 128 << 10
	maxSnapshotChunk     = 1 << 20
	defaultSnapshotWin   = 8 << 20
	maxSnapshotWin       = 32 << 20
)

// maxSnapshots is how many backups a node sends at once.
const maxSnapshots = 64

// snapshotPatience is how long a client may leave all chunks without an ack.
const snapshotPatience = 5 * time.Second

// streamSnapshot answers $JS.API.STREAM.SNAPSHOT.<stream> on the stream's leader:
// it takes an image and sends it to deliver_subject as an archive (package backup),
// in chunks whose reply subject takes an empty ack each. The last chunk asks for
// none; what follows it is empty with status 204, or with another one for an error.
// Every record is checked while it is read, with and without jsck.
func (c *call) streamSnapshot() {
	if isEmpty(c.Body) {
		c.fail(apierr.JSBadRequestErr)
		return
	}
	st := c.replica()
	if st == nil {
		return
	}
	var req api.StreamSnapshotRequest
	if !c.read(&req) {
		return
	}
	if !subject.ValidLiteral(req.DeliverSubject) {
		c.fail(apierr.JSSnapshotDeliverSubjectInvalidErr)
		return
	}
	if c.svc.snapshots.Add(1) > maxSnapshots {
		c.svc.snapshots.Add(-1)
		c.fail(apierr.JSStreamSnapshotErrF("too many backups are under way"))
		return
	}
	b, err := st.TakeBackup()
	if err != nil {
		c.svc.snapshots.Add(-1)
		st.NoteDamage(err)
		c.fail(apierr.JSStreamSnapshotErrF(err))
		return
	}
	started := c.svc.spawn(func() {
		defer c.svc.snapshots.Add(-1)
		c.sendSnapshot(st, b, &req)
	})
	if !started {
		st.NoteDamage(b.Close())
	}
}

// sendSnapshot answers the request and sends the backup.
func (c *call) sendSnapshot(st *jetstream.Stream, b *jetstream.Backup, req *api.StreamSnapshotRequest) {
	start := c.svc.cfg.Clock.Now().UTC()
	out, err := c.newSnapshotWriter(req)
	if err == nil {
		c.answer(api.StreamSnapshotResponse{Response: c.response(), Config: &b.Config, State: &b.State})
		c.svc.advise(c.acc, "STREAM.SNAPSHOT_CREATE."+c.stream(), &api.SnapshotCreate{
			Advisory: c.svc.newAdvisory(api.SnapshotCreateAdvisoryType), Stream: c.stream(), State: b.State,
			Client: c.ClientInfo(), Domain: c.svc.cfg.Domain,
		})
		if err = out.settle(c.ClientInfo()); err == nil {
			err = b.WriteTo(out, !req.NoConsumers)
		}
		out.close(err)
	} else {
		c.fail(apierr.JSStreamSnapshotErrF(err))
	}
	err = errors.Join(err, b.Close())
	st.NoteDamage(err)
	advisory := &api.SnapshotComplete{
		Advisory: c.svc.newAdvisory(api.SnapshotCompleteAdvisoryType), Stream: c.stream(), Start: start,
		End: c.svc.cfg.Clock.Now().UTC(), Client: c.ClientInfo(), Domain: c.svc.cfg.Domain,
	}
	if err != nil {
		advisory.Error = err.Error()
		c.svc.cfg.Logger.Warnf("Backup of stream %s > %s: %v", c.Account, c.stream(), err)
	}
	c.svc.advise(c.acc, "STREAM.SNAPSHOT_COMPLETE."+c.stream(), advisory)
}

// snapshotWriter sends what is written to it in chunks.
type snapshotWriter struct {
	svc     *Service
	acc     *account.Account
	acks    *router.Sub
	deliver []byte
	prefix  string // of the reply subjects
	chunk   int
	window  int
	buf     []byte
	sent    int // chunks with a reply subject

	mu      sync.Mutex
	unacked map[int]int   // chunk → its size
	size    int           // of all unacked ones
	acked   chan struct{} // holds one token after an ack
}

var errNoFlow = errors.New("no acks came")

func (c *call) newSnapshotWriter(req *api.StreamSnapshotRequest) (*snapshotWriter, error) {
	w := &snapshotWriter{
		svc: c.svc, acc: c.acc, deliver: []byte(req.DeliverSubject), unacked: make(map[int]int), acked: make(chan struct{}, 1),
		chunk: clamp(req.ChunkSize, minSnapshotChunk, defaultSnapshotChunk, maxSnapshotChunk),
	}
	w.window = clamp(req.WindowSize, w.chunk, defaultSnapshotWin, maxSnapshotWin)
	w.buf = make([]byte, 0, w.chunk)
	w.prefix = "$JS.SNAPSHOT.ACK." + c.stream() + "." + randomName(22) + "."
	sub, err := c.svc.cfg.Router.Subscribe(c.acc, w.prefix+">", "", w.takeAck, router.SubOptions{})
	if err != nil {
		return nil, fmt.Errorf("subscribe to acks: %w", err)
	}
	w.acks = sub
	return w, nil
}

// clamp brings a size into its range; one that is not given is the default.
func clamp(size, least, normal, most int) int {
	if size <= 0 {
		return max(least, normal)
	}
	return min(max(size, least), most)
}

// takeAck takes an ack on prefix + "<size>.<chunk>".
func (w *snapshotWriter) takeAck(_ *router.Sub, _ router.Source, m *router.Msg) {
	subj := string(m.Subject)
	n, err := strconv.Atoi(subj[strings.LastIndexByte(subj, '.')+1:])
	if err != nil {
		return
	}
	w.mu.Lock()
	w.size -= w.unacked[n]
	delete(w.unacked, n)
	w.mu.Unlock()
	select {
	case w.acked <- struct{}{}:
	default:
	}
}

// Bounds of the pause before the first chunk.
const (
	minSettle = 50 * time.Millisecond
	maxSettle = 2 * time.Second
)

// settle gives the client time to subscribe: the usual ones do so only when they
// have the answer, on a subject below one that they listen on all the time, so
// that interest tells nothing.
func (w *snapshotWriter) settle(client *api.ClientInfo) error {
	wait := minSettle
	if client != nil {
		wait = min(max(wait, 4*client.RTT), maxSettle)
	}
	return w.svc.awaitToken(nil, wait, nil)
}

// awaitToken waits for a token, at most for d; then the error is late, or stopped when
// the service stops.
func (s *Service) awaitToken(token <-chan struct{}, d time.Duration, late error) error {
	over := make(chan struct{})
	t := s.cfg.Clock.AfterFunc(d, func() { close(over) })
	defer t.Stop()
	select {
	case <-token:
		return nil
	case <-over:
		return late
	case <-s.stop:
		return errStopped
	}
}

var errStopped = errors.New("the server stops")

// Write sends full chunks and keeps the rest.
func (w *snapshotWriter) Write(p []byte) (int, error) {
	n := len(p)
	for len(p) > 0 {
		k := min(len(p), w.chunk-len(w.buf))
		w.buf, p = append(w.buf, p[:k]...), p[k:]
		if len(w.buf) < w.chunk {
			break
		}
		if err := w.sendChunk(); err != nil {
			return 0, err
		}
	}
	return n, nil
}

// sendChunk sends a full chunk once the window has room for it.
func (w *snapshotWriter) sendChunk() error {
	for {
		w.mu.Lock()
		room := w.size == 0 || w.size+len(w.buf) <= w.window
		if room {
			w.sent++
			w.unacked[w.sent] = len(w.buf)
			w.size += len(w.buf)
		}
		w.mu.Unlock()
		if room {
			break
		}
		if err := w.svc.awaitToken(w.acked, snapshotPatience, errNoFlow); err != nil {
			return err
		}
	}
	if !w.svc.cfg.Router.HasInterest(w.acc, string(w.deliver)) {
		return errNoInterest
	}
	reply := w.prefix + strconv.Itoa(len(w.buf)) + "." + strconv.Itoa(w.sent)
	w.publish(reply, nil, w.buf)
	w.buf = w.buf[:0]
	return nil
}

var errNoInterest = errors.New("nobody listens")

// close sends what is left and the end, or the error that ended it.
func (w *snapshotWriter) close(err error) {
	w.svc.cfg.Router.Unsubscribe(w.acks)
	switch {
	case errors.Is(err, errStopped):
	case errors.Is(err, errNoFlow):
		w.publish("", wire.StatusBlock(408, "No Flow Response"), nil)
	case errors.Is(err, errNoInterest):
		w.publish("", wire.StatusBlock(408, "No Interest"), nil)
	case base.IsCorrupt(err):
		w.publish("", wire.StatusBlock(500, "Damaged Stream"), nil)
	case err != nil:
		w.publish("", wire.StatusBlock(500, "Snapshot Failed"), nil)
	default:
		if len(w.buf) > 0 {
			w.publish("", nil, w.buf)
		}
		w.publish("", wire.StatusBlock(204, ""), nil)
	}
}

func (w *snapshotWriter) publish(reply string, header, body []byte) {
	m := &router.Msg{Subject: w.deliver, Header: header, Payload: body}
	if reply != "" {
		m.Reply = []byte(reply)
	}
	w.svc.cfg.Router.Publish(w.acc, router.Internal, m)
}
