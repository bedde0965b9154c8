package jsapi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"weir/internal/api"
	"weir/internal/apierr"
	"weir/internal/backup"
	"weir/internal/jetstream"
	"weir/internal/meta"
	"weir/internal/router"
	"weir/internal/stream"
)

// restoreIdle ends a restore whose client sends nothing.
const restoreIdle = 30 * time.Second

// Bounds of the chunks that wait to be read. A chunk is answered at once while no more
// than maxRestoreAhead bytes wait: one of few bytes may hold much, and a client
// does not wait for its answer for long. Clients send a chunk and wait for the answer,
// so that more than maxRestoreBacklog chunks are of one that does not.
const (
	maxRestoreAhead   = 4 << 20
	maxRestoreBacklog = 1024
)

// streamRestore answers $JS.API.STREAM.RESTORE.<stream> on the meta leader: it
// judges the configuration as for a new stream, which may be sealed and may have been
// a mirror, places it and proposes. The first leader of its group gives the answer, with the subject that
// takes the chunks (RestoreReady). Each is answered when there is room for the
// next one; an empty one ends the archive, and its answer is that of a create. A
// request for a stream that is being restored ends that restore and begins another.
func (c *call) streamRestore() {
	var req api.StreamRestoreRequest
	if isEmpty(c.Body) {
		c.fail(apierr.JSBadRequestErr)
		return
	}
	cfg, err := c.decodeRestore(&req)
	if err == nil && c.taken(cfg.Name) && !c.restoring() {
		err = apierr.JSStreamNameExistRestoreFailedErr
	}
	if err == nil && cfg.Replicas > 1 && c.svc.cfg.Cluster == "" {
		err = apierr.JSStreamReplicasNotSupportedErr
	}
	if err == nil {
		err = c.checkOrigins(&cfg)
	}
	if err != nil {
		c.fail(err)
		return
	}
	raw := encodeConfig(&cfg)
	cmd, err := c.placed(&cfg, raw)
	if err != nil {
		c.fail(err)
		return
	}
	cmd.Restore = true
	c.proposeCreate(cmd)
}

// decodeRestore reads and checks the configuration of a restore.
func (c *call) decodeRestore(req *api.StreamRestoreRequest) (api.StreamConfig, *apierr.Error) {
	if err := decode(c.Body, req); err != nil {
		return req.Config, err
	}
	if err := checkStreamEnums(&req.Config); err != nil {
		return req.Config, err
	}
	switch req.Config.Name {
	case "":
		req.Config.Name = c.stream()
	case c.stream():
	default:
		return req.Config, apierr.JSStreamMismatchErr
	}
	return stream.CheckAlone(req.Config, c.svc.streamLimits(c.acc, req.Config.Storage), false)
}

// taken tells whether a name is in use; restoring, whether by a stream that is
// being restored.
func (c *call) taken(name string) (yes bool) {
	c.svc.node.View(func(s *meta.State) { yes = s.Stream(c.Account, name) != nil })
	return yes
}

func (c *call) restoring() (yes bool) {
	c.svc.node.View(func(s *meta.State) {
		a := s.Stream(c.Account, c.stream())
		yes = a != nil && a.Restoring
	})
	return yes
}

// RestoreReady begins to receive a backup on the leader of its stream.
func (s *Service) RestoreReady(st *jetstream.Stream, origin meta.Origin) {
	s.later(func() {
		acc := s.cfg.Accounts.Account(st.Account())
		e, args := find(origin.Subject)
		if acc == nil || e == nil {
			s.spawn(func() { s.dropRestore(st) })
			return
		}
		r := &jetstream.Request{
			Account: st.Account(), Subject: origin.Subject, Reply: origin.Reply, Client: origin.Client, Origin: origin.Node,
		}
		in := &restoreReceiver{
			call: &call{Request: r, svc: s, endpoint: e, acc: acc, args: args}, st: st,
			start: s.cfg.Clock.Now().UTC(), more: make(chan struct{}, 1),
		}
		s.spawn(in.run)
	})
}

// dropRestore ends a restore that came to nothing.
func (s *Service) dropRestore(st *jetstream.Stream) {
	ctx, cancel := context.WithTimeout(context.Background(), proposeTimeout)
	defer cancel()
	if err := st.EndRestore(ctx, false); err != nil {
		s.cfg.Logger.Debugf("Drop the restore of stream %s > %s: %v", st.Account(), st.Name(), err)
	}
}

// restoreReceiver receives one backup.
type restoreReceiver struct {
	*call
	st    *jetstream.Stream
	start time.Time

	rest  []byte // of the chunk being read
	bytes int64  // read
	ended bool
	reply string // of the empty chunk, once ended

	mu     sync.Mutex
	queue  []restoreChunk
	size   int  // of queue in bytes
	failed bool // nothing is read any more but to answer it
	flood  bool
	more   chan struct{} // holds one token when queue grew
}

// restoreChunk is a chunk that waits. reply is empty if it was answered.
type restoreChunk struct {
	reply string
	data  []byte
}

var (
	errRestoreIdle  = errors.New("nothing was received for " + restoreIdle.String())
	errRestoreFlood = errors.New("chunks came without waiting for answers")
)

// run receives the backup and tells what came of it.
func (in *restoreReceiver) run() {
	deliver := "$JS.SNAPSHOT.RESTORE." + in.st.Name() + "." + randomName(22)
	sub, err := in.svc.cfg.Router.Subscribe(in.acc, deliver, "", in.take, router.SubOptions{})
	if err != nil {
		in.fail(apierr.JSRestoreSubscribeFailedErrF(deliver, err))
		in.svc.dropRestore(in.st)
		return
	}
	defer in.svc.cfg.Router.Unsubscribe(sub)
	in.svc.cfg.Logger.Noticef("Starting restore of stream %s > %s", in.Account, in.st.Name())
	in.svc.advise(in.acc, "STREAM.RESTORE_CREATE."+in.st.Name(), &api.RestoreCreate{
		Advisory: in.svc.newAdvisory(api.RestoreCreateAdvisoryType), Stream: in.st.Name(), Client: in.ClientInfo(), Domain: in.svc.cfg.Domain,
	})
	in.answer(api.StreamRestoreResponse{Response: in.response(), DeliverSubject: deliver})
	err = in.load()
	if errors.Is(err, errStopped) {
		return // whoever leads next drops it
	}
	if err != nil {
		in.svc.dropRestore(in.st)
	}
	in.complete(err)
	in.conclude(err)
}

// take is the handler of the chunks.
func (in *restoreReceiver) take(_ *router.Sub, _ router.Source, m *router.Msg) {
	chunk := restoreChunk{reply: string(m.Reply), data: append([]byte(nil), m.Payload...)}
	answer := ""
	in.mu.Lock()
	in.flood = in.flood || len(in.queue) >= maxRestoreBacklog
	if !in.flood {
		if len(chunk.data) > 0 && !in.failed && in.size+len(chunk.data) <= maxRestoreAhead {
			answer, chunk.reply = chunk.reply, ""
		}
		in.queue = append(in.queue, chunk)
		in.size += len(chunk.data)
	}
	in.mu.Unlock()
	select {
	case in.more <- struct{}{}:
	default:
	}
	in.tell(answer, nil)
}

// load puts the backup into the stream and shows it.
func (in *restoreReceiver) load() error {
	ctx, cancel := in.svc.lifetime()
	defer cancel()
	if err := in.st.LoadBackup(ctx, backup.NewReader(in), in.svc.consumerLimits(in.acc)); err != nil {
		return err
	}
	for !in.ended { // what compression has behind the archive
		if err := in.next(); err != nil {
			return err
		}
	}
	return in.st.EndRestore(ctx, true)
}

// Read reads the archive.
func (in *restoreReceiver) Read(p []byte) (int, error) {
	for len(in.rest) == 0 {
		if in.ended {
			return 0, io.EOF
		}
		if err := in.next(); err != nil {
			return 0, err
		}
	}
	n := copy(p, in.rest)
	in.rest = in.rest[n:]
	return n, nil
}

// next takes the next chunk and asks for the one after it.
func (in *restoreReceiver) next() error {
	chunk, err := in.await()
	if err != nil {
		return err
	}
	if len(chunk.data) == 0 {
		in.ended, in.reply = true, chunk.reply
		return nil
	}
	in.rest = chunk.data
	in.bytes += int64(len(chunk.data))
	in.tell(chunk.reply, nil)
	return nil
}

// await waits for a chunk.
func (in *restoreReceiver) await() (restoreChunk, error) {
	for {
		in.mu.Lock()
		flood, some := in.flood, len(in.queue) > 0
		var chunk restoreChunk
		if some {
			chunk, in.queue = in.queue[0], in.queue[1:]
			in.size -= len(chunk.data)
		}
		in.mu.Unlock()
		switch {
		case flood:
			return restoreChunk{}, errRestoreFlood
		case some:
			return chunk, nil
		}
		if err := in.svc.awaitToken(in.more, restoreIdle, errRestoreIdle); err != nil {
			return restoreChunk{}, err
		}
	}
}

// complete tells of the end.
func (in *restoreReceiver) complete(err error) {
	end := in.svc.cfg.Clock.Now().UTC()
	if err != nil {
		in.svc.cfg.Logger.Warnf("Restore of stream %s > %s failed: %v", in.Account, in.st.Name(), err)
	} else {
		in.svc.cfg.Logger.Noticef("Completed restore of stream %s > %s: %d bytes in %v", in.Account, in.st.Name(), in.bytes, end.Sub(in.start))
		in.svc.adviseStream(in.acc, in.st.Name(), api.CreateAction)
	}
	in.svc.advise(in.acc, "STREAM.RESTORE_COMPLETE."+in.st.Name(), &api.RestoreComplete{
		Advisory: in.svc.newAdvisory(api.RestoreCompleteAdvisoryType), Stream: in.st.Name(), Start: in.start, End: end,
		Bytes: in.bytes, Client: in.ClientInfo(), Domain: in.svc.cfg.Domain,
	})
}

// conclude answers the empty chunk. Of a failure that was met earlier the next chunk
// that was not answered hears.
func (in *restoreReceiver) conclude(err error) {
	if err == nil {
		in.tell(in.reply, api.StreamCreateResponse{Response: api.Response{Type: api.StreamCreateResponseType}, StreamInfo: in.svc.describe(in.st)})
		return
	}
	in.mu.Lock()
	in.failed = true
	in.mu.Unlock()
	failed := apierr.JSStreamRestoreErrF(err)
	for !in.ended {
		chunk, lost := in.await()
		switch {
		case lost != nil:
			return
		case len(chunk.data) == 0:
			in.ended, in.reply = true, chunk.reply
		case chunk.reply != "":
			in.publishTo(chunk.reply, []byte(fmt.Sprintf("-ERR '%s'", failed.Description)))
			return
		}
	}
	in.tell(in.reply, api.StreamCreateResponse{Response: api.Fail(api.StreamCreateResponseType, failed)})
}

// tell answers a chunk with a document, or with nothing.
func (in *restoreReceiver) tell(reply string, doc any) {
	var body []byte
	if doc != nil {
		var err error
		if body, err = json.Marshal(doc); err != nil {
			in.svc.cfg.Logger.Errorf("JetStream API: answer to a restore can not be encoded: %v", err)
			return
		}
	}
	in.publishTo(reply, body)
}

func (in *restoreReceiver) publishTo(reply string, body []byte) {
	if reply != "" {
		in.svc.cfg.Router.Publish(in.acc, router.Internal, &router.Msg{Subject: []byte(reply), Payload: body})
	}
}
