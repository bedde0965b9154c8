package runner

import "weir/internal/msg"

// pendingCount caches how many messages from next on match. Asking the store for
// each message would cost more than delivering it, and counting all again after
// each message that is stored too.
type pendingCount struct {
	n       uint64
	known   bool
	changed bool // the store has changed since
	// last and msgs are the store's last sequence and number of messages when n was
	// counted. While both grow by the same, nothing was removed.
	last, msgs uint64
}

func (c *pendingCount) delivered() {
	if c.n > 0 {
		c.n--
	}
}

// found notes that m is the next that matches. Of the last message of the stream that
// is all there is to know.
func (c *pendingCount) found(r *Runner, m *msg.Message) {
	if c.known && !c.changed {
		return
	}
	if st := r.env.Store.State(); m.Seq == st.LastSeq {
		*c = pendingCount{n: 1, known: true, last: st.LastSeq, msgs: st.Msgs}
	}
}

// pendingCount is how many messages are to come; 0 while the store can not tell, as
// whoever reads the next one notices.
func (r *Runner) pendingCount() uint64 {
	c := &r.npending
	if c.known && !c.changed {
		return c.n
	}
	before := r.env.Store.State()
	n, err := uint64(0), error(nil)
	if c.known && before.LastSeq-c.last == before.Msgs-c.msgs {
		n, err = r.env.Store.NumPending(max(c.last+1, r.next), r.filter)
		n += c.n
	} else {
		n, err = r.countPending()
	}
	if err != nil {
		return 0
	}
	after := r.env.Store.State()
	c.n, c.last, c.msgs, c.changed = n, after.LastSeq, after.Msgs, false
	c.known = before.LastSeq == after.LastSeq && before.Msgs == after.Msgs
	return n
}

// countPending counts what is to come. Within the bound of a last_per_subject
// start only messages that will be delivered count.
func (r *Runner) countPending() (uint64, error) {
	bound := r.state.LastPerSubject
	if r.next > bound {
		return r.env.Store.NumPending(r.next, r.filter)
	}
	n, err := r.env.Store.NumPending(bound+1, r.filter)
	var m msg.Message
	buf := make([]byte, minReadBuf)
	for from := r.next; err == nil; from = m.Seq + 1 {
		var ok bool
		ok, err = r.env.Store.Next(from, r.filter, &m, buf)
		if !ok || m.Seq > bound {
			break
		}
		skip, failed := r.skips(&m)
		if !skip {
			n++
		}
		err = failed
	}
	return n, err
}
