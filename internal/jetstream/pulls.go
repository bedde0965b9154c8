package jetstream

import (
	"bytes"
	"strconv"
	"strings"
	"sync"
	"time"

	"weir/internal/account"
	"weir/internal/base"
	"weir/internal/router"
	"weir/internal/runner"
	"weir/internal/wire"
)

// pulls are the pull requests that clients of this node sent to runners on other
// nodes. When such a node is lost, whoever still listens for an answer is told that
// the runner changed, and pulls again. How much a pull got already is not known
// here; one that is over is forgotten when its time is, so a client may be told of a
// change that does not concern it, which is no harm.
type pulls struct {
	mu    sync.Mutex
	sent  map[pullKey]pullSent
	swept time.Time
}

type pullKey struct {
	acc   *account.Account
	reply string
}

type pullSent struct {
	to      base.NodeID
	expires time.Time
}

const (
	// maxPulls bounds what is remembered; pulls beyond it end by their own expiry.
	maxPulls = 256 << 10
	// maxPullReply bounds the length of the reply subject of each.
	maxPullReply = 512
	// openPull is how long a pull without an expiry is remembered, and longestPull
	// how long any.
	openPull    = 5 * time.Minute
	longestPull = time.Hour
	// sweepPulls is how often those that are over are forgotten.
	sweepPulls = 10 * time.Second
)

// isPull tells whether a request asks a runner for messages: a pull, or an ack that
// asks for the next one.
func isPull(r *Request) bool {
	return r.Reply != "" && (strings.HasPrefix(r.Subject, nextPrefix) || strings.HasPrefix(r.Subject, ackPrefix) && bytes.HasPrefix(r.Body, nextWord))
}

const (
	apiPrefix  = "$JS.API."
	nextPrefix = apiPrefix + "CONSUMER.MSG.NEXT."
	ackPrefix  = "$JS.ACK."
)

var nextWord = []byte("+NXT")

// noteSent remembers what a client here may have lost if the node that it is sent
// to is lost.
func (n *Node) noteSent(to base.NodeID, r *Request) {
	switch {
	case isPull(r):
		if acc := n.cfg.Accounts.Account(r.Account); acc != nil {
			n.pulls.note(acc, r, to, n.cfg.Clock.Now())
		}
	case strings.HasPrefix(r.Subject, ackPrefix):
		n.acks.note(r, to, n.cfg.Clock.Now())
	}
}

// note remembers a pull that is about to be sent to a node.
func (p *pulls) note(acc *account.Account, r *Request, to base.NodeID, now time.Time) {
	if len(r.Reply) > maxPullReply {
		return
	}
	expires := now.Add(min(pullTime(r.Body), longestPull))
	p.mu.Lock()
	defer p.mu.Unlock()
	key := pullKey{acc, r.Reply}
	if _, known := p.sent[key]; !known && len(p.sent) >= maxPulls {
		return
	}
	if p.sent == nil {
		p.sent = make(map[pullKey]pullSent)
	}
	p.sent[key] = pullSent{to, expires}
}

// pullTime reads how long a pull may wait, without decoding all of it.
func pullTime(body []byte) time.Duration {
	_, rest, ok := bytes.Cut(body, []byte(`"expires"`))
	if !ok {
		return openPull
	}
	rest = bytes.TrimLeft(rest, " \t\r\n:")
	end := 0
	for end < len(rest) && '0' <= rest[end] && rest[end] <= '9' {
		end++
	}
	ns, err := strconv.ParseInt(string(rest[:end]), 10, 64)
	if err != nil {
		return openPull
	}
	return time.Duration(ns)
}

// sweep forgets the pulls whose time is over.
func (p *pulls) sweep(now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.sent) == 0 || now.Sub(p.swept) < sweepPulls {
		return
	}
	p.swept = now
	for key, s := range p.sent {
		if now.After(s.expires) {
			delete(p.sent, key)
		}
	}
	if len(p.sent) == 0 {
		p.sent = nil
	}
}

// take removes and returns those that were sent to a node and are not over.
func (p *pulls) take(node base.NodeID, now time.Time) (lost []pullKey) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for key, s := range p.sent {
		if s.to != node {
			continue
		}
		if !now.After(s.expires) {
			lost = append(lost, key)
		}
		delete(p.sent, key)
	}
	return lost
}

// endPulls tells the clients here whose pulls wait on a lost node that its runners
// are replaced.
func (n *Node) endPulls(node base.NodeID) {
	lost := n.pulls.take(node, n.cfg.Clock.Now())
	if len(lost) == 0 {
		return
	}
	status := wire.StatusBlock(409, string(runner.CloseLeadership))
	for _, key := range lost {
		if n.cfg.Router.HasInterest(key.acc, key.reply) {
			n.publish(key.acc, &router.Msg{Subject: []byte(key.reply), Header: status})
		}
	}
}
