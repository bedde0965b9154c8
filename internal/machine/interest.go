package machine

import (
	"unsafe"

	"weir/internal/api"
	"weir/internal/consumer"
	"weir/internal/msg"
	"weir/internal/subject"
)

// through follows the event that consumer c is through with a message: under interest and workqueue retention the message
// goes when nobody else needs it.
func (m *Machine) through(c *consumer.Consumer, seq uint64) {
	if m.failed != nil {
		return
	}
	retention := m.stream.Config().Retention
	switch {
	case retention == api.LimitsRetention:
		return
	case retention == api.InterestRetention || m.copied():
		wanted, err := m.wantedByOthers(c, seq)
		if err != nil {
			m.failed = err
		}
		if wanted || err != nil {
			return
		}
	}
	if _, err := m.stream.Release(seq); err != nil {
		m.failed = err
	}
}

// copied tells whether mirrors or sources read the stream. Theirs are the only consumers that share messages of a work queue
// with others.
func (m *Machine) copied() bool { return len(m.byID) > m.counted }

func (m *Machine) wantedByOthers(c *consumer.Consumer, seq uint64) (bool, error) {
	if len(m.byID) == 1 {
		return false, nil
	}
	info, ok, err := m.store.Info(seq)
	if err != nil || !ok {
		return true, err // nothing is there to be released
	}
	return m.needed(info.Subject, seq, c), nil
}

// needed tells whether a consumer other than except still has to deliver a message or see it acked.
func (m *Machine) needed(literal string, seq uint64, except *consumer.Consumer) bool {
	for _, c := range m.Matching(literal).Plain {
		if c != except && c.Needs(seq) {
			return true
		}
	}
	return false
}

// finished tells whether a message is to be released because nobody needs it any more. In a work queue somebody has to have
// worked on it, whoever copied it.
func (m *Machine) finished(literal string, seq uint64) bool {
	worked := m.stream.Config().Retention == api.InterestRetention
	for _, c := range m.Matching(literal).Plain {
		if c.Needs(seq) {
			return false
		}
		worked = worked || counts(c.Config)
	}
	return worked
}

// Matching is who filters a subject. It does not keep literal, which may be one of Effects.Stored. It
// may be asked at any time, by any goroutine.
func (m *Machine) Matching(literal string) *subject.Result[*consumer.Consumer] {
	return m.index.MatchBytes(unsafe.Slice(unsafe.StringData(literal), len(literal)))
}

// removed follows the loss of one message other than by acks: who waits for its ack waits no more.
func (m *Machine) removed(info msg.Info) {
	if !m.spans.Used(info.Seq) {
		return
	}
	for _, c := range m.Matching(info.Subject).Plain {
		if c.Removed(info.Seq) {
			m.touch(c)
			m.out.Lost = append(m.out.Lost, Lost{c, info.Seq})
		}
	}
}

// purged follows the loss of all messages below first.
func (m *Machine) purged(first uint64) {
	m.out.Trimmed = true
	for _, c := range m.byID {
		if c.Purged(first) {
			m.touch(c)
		}
	}
}

func filterPatterns(c *consumer.Consumer) []string {
	if filters := c.Filter.Subjects(); len(filters) > 0 {
		return filters
	}
	return everything
}

var everything = []string{">"}

func (m *Machine) link(c *consumer.Consumer) {
	m.byName[c.Name], m.byID[c.ID] = c, c
	m.linkFilters(c)
}

func (m *Machine) linkFilters(c *consumer.Consumer) {
	if counts(c.Config) {
		m.counted++
	}
	if c.Config.Direct {
		m.direct++
	}
	for _, pattern := range filterPatterns(c) {
		m.index.Insert(pattern, "", c)
	}
}

func (m *Machine) unlink(c *consumer.Consumer) {
	delete(m.byName, c.Name)
	delete(m.byID, c.ID)
	m.unlinkFilters(c)
}

func (m *Machine) unlinkFilters(c *consumer.Consumer) {
	if counts(c.Config) {
		m.counted--
	}
	if c.Config.Direct {
		m.direct--
	}
	for _, pattern := range filterPatterns(c) {
		m.index.Remove(pattern, "", c)
	}
}
