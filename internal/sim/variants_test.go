package sim

import (
	"encoding/json"

	"weir/internal/api"
)

// variant is a cluster and what happens to it while a list is played. None of it is to be
// seen by a client that waits for the cluster to be whole.
type variant struct {
	name     string
	nodes    int
	replicas int // at first
	storage  api.Storage
	tail     uint64 // of the log; 1 has replicas that were away brought up to date by images
	disturb  func(*player, uint64)
	async    bool // streams may be as async as a list wants them
}

var variants = []variant{
	{name: "one node", nodes: 1, replicas: 1, storage: api.FileStorage, tail: 100, async: true},
	{name: "one node, in memory", nodes: 1, replicas: 1, storage: api.MemoryStorage, tail: 100},
	{name: "one node that crashes", nodes: 1, replicas: 1, storage: api.FileStorage, tail: 1, disturb: restart},
	{name: "step-downs", nodes: 4, replicas: 3, storage: api.FileStorage, tail: 100, disturb: stepDowns},
	{name: "one replica of four nodes, step-downs", nodes: 4, replicas: 1, storage: api.FileStorage, tail: 100, disturb: stepDowns, async: true},
	{name: "one away, caught up by the log", nodes: 3, replicas: 3, storage: api.FileStorage, tail: 1000, disturb: oneAway},
	{name: "one away, caught up by images", nodes: 3, replicas: 3, storage: api.FileStorage, tail: 1, disturb: oneAway},
	{name: "one away, in memory", nodes: 3, replicas: 3, storage: api.MemoryStorage, tail: 1, disturb: oneAway},
	{name: "five replicas, one away", nodes: 5, replicas: 5, storage: api.FileStorage, tail: 20, disturb: oneAway},
	{name: "from one to three and five replicas and back", nodes: 5, replicas: 1, storage: api.FileStorage, tail: 20, disturb: scale},
	{name: "from one to three and five replicas and back, in memory", nodes: 5, replicas: 1, storage: api.MemoryStorage, tail: 1, disturb: scale},
}

// streamsOf are the streams of a list: S, its mirror M and A, which has messages of S beside its own.
var streamsOf = []string{"S", "M", "A"}

// restart crashes a node and starts it again.
func restart(p *player, pick uint64) {
	n := p.world.nodes[pick%uint64(len(p.world.nodes))]
	n.crash(pick&256 != 0, 0)
	p.world.startNode(n)
}

// stepDowns asks the leaders of all to step down.
func stepDowns(p *player, pick uint64) {
	n := p.world.nodes[pick%uint64(len(p.world.nodes))]
	for _, name := range streamsOf {
		p.world.request(n, "STREAM.LEADER.STEPDOWN."+name, nil)
	}
	for _, subject := range []string{"CONSUMER.LEADER.STEPDOWN.S.c", "CONSUMER.LEADER.STEPDOWN.S.d", "META.LEADER.STEPDOWN"} {
		p.world.request(n, subject, nil)
	}
}

// oneAway brings back who is away and takes another node away, until the next time.
func oneAway(p *player, pick uint64) {
	p.world.startAll()
	p.becomeWhole()
	n := p.world.nodes[pick%uint64(len(p.world.nodes))]
	if pick&256 != 0 {
		n.crash(pick&512 != 0, 0)
	} else if err := n.stop(); err != nil {
		p.world.fail("stop %s: %v", n.name, err)
	}
}

// scale gives the streams another number of replicas.
func scale(p *player, pick uint64) {
	p.choose(pick)
	p.replicas = map[int]int{1: 3, 3: 5, 5: 1}[p.replicas]
	for _, name := range streamsOf {
		var info api.StreamInfoResponse
		if p.api("STREAM.INFO."+name, nil, &info); info.Error != nil {
			continue // there is none
		}
		info.Config.Replicas = p.replicas
		var updated api.StreamInfoResponse
		if p.api("STREAM.UPDATE."+name, info.Config, &updated); updated.Error != nil {
			p.world.fail("scale %s to %d: %v", name, p.replicas, updated.Error)
		}
	}
	p.becomeWhole()
}

// becomeWhole waits for all streams to have all their replicas.
func (p *player) becomeWhole() {
	left := ""
	whole := func() bool {
		left = ""
		for _, name := range streamsOf {
			if why := p.world.apart(api.StreamConfig{Name: name, Replicas: p.replicas}); why != "" && p.exists(name) {
				left = why
			}
		}
		return left == ""
	}
	if !p.world.eventually(gapTime/2, whole) {
		p.world.fail("not whole within %v: %s", gapTime/2, left)
	}
}

// exists tells whether a node has a replica of a stream.
func (p *player) exists(name string) bool {
	for _, n := range p.world.nodes {
		if n.up() && n.life.streamNamed(name) != nil {
			return true
		}
	}
	return false
}

// api asks the API by way of the player's node, and waits for the answer.
func (p *player) api(subject string, doc, answer any) {
	var body []byte
	if doc != nil {
		var err error
		if body, err = json.Marshal(doc); err != nil {
			p.world.fail("%s: %v", subject, err)
			return
		}
	}
	if m := p.calls.call(p.node, apiPrefix+subject, body); m == nil {
		p.world.fail("%s: no answer", subject)
	} else if err := json.Unmarshal(m.Payload, answer); err != nil {
		p.world.fail("%s: answer %q: %v", subject, m.Payload, err)
	}
}
