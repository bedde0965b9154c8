package sim

import (
	"encoding/json"
	"fmt"

	"weir/internal/api"
	"weir/internal/wire"
)

// archive is a backup of a stream.
type archive struct {
	api.StreamSnapshotResponse
	chunks [][]byte
}

// backUp makes a backup of a stream; nil: there is none, why is noted.
func (p *player) backUp(name string, noConsumers bool) *archive {
	inbox := p.calls.open(p.node)
	body, err := json.Marshal(api.StreamSnapshotRequest{DeliverSubject: inbox, NoConsumers: noConsumers, ChunkSize: 1024})
	if err != nil {
		p.world.fail("back up %s: %v", name, err)
		return nil
	}
	p.node.say(apiPrefix+"STREAM.SNAPSHOT."+name, inbox, nil, body)
	a := new(archive)
	for {
		m := p.calls.next()
		if m == nil {
			p.note("the backup does not end")
			return nil
		}
		code, _, isStatus := wire.Status(m.Header)
		switch {
		case isStatus && code == 204:
			return a
		case isStatus:
			p.note(fmt.Sprint("the backup ends with ", code))
			return nil
		case a.Config == nil:
			if err := json.Unmarshal(m.Payload, &a.StreamSnapshotResponse); err != nil || a.Error != nil {
				p.note(p.normal(m.Payload))
				return nil
			}
		default:
			a.chunks = append(a.chunks, m.Payload)
			if len(m.Reply) > 0 {
				p.node.say(string(m.Reply), "", nil, nil)
			}
		}
	}
}

// restore makes a stream of a backup, and notes what is answered.
func (p *player) restore(a *archive) {
	var ready api.StreamRestoreResponse
	p.api("STREAM.RESTORE."+a.Config.Name, api.StreamRestoreRequest{Config: *a.Config, State: *a.State}, &ready)
	if ready.Error != nil {
		p.note(fmt.Sprint("restore: ", ready.Error))
		return
	}
	for _, chunk := range append(a.chunks, nil) {
		m := p.calls.call(p.node, ready.DeliverSubject, chunk)
		switch {
		case m == nil:
			p.note("a chunk is not answered")
			return
		case len(m.Payload) > 0:
			p.note(p.normal(m.Payload))
		}
	}
}

// note adds to what was heard.
func (p *player) note(text string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.heardOf = append(p.heardOf, text)
}
