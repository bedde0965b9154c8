package machine

import (
	"encoding/json"
	"math"

	"weir/internal/api"
	"weir/internal/base"
	"weir/internal/subject"
)

// keyRelease has the JSON of the release that is under way. No key of a stream or of a consumer begins with it.
var keyRelease = []byte{'u'}

// maxReleaseFilters bounds the filters of a release; with more it looks at all messages.
const maxReleaseFilters = 64

// release is a removal of messages that nobody needs any more, under interest or workqueue retention. It goes on with every Expire, so that no
// entry looks at very many messages. A consumer that is made meanwhile keeps what it needs of those that are still there.
type release struct {
	// Filters say which messages; none is all.
	Filters []string `json:"filters,omitempty"`
	// From and Last are the first and the last sequence to be looked at.
	From uint64 `json:"from"`
	Last uint64 `json:"last"`
}

// join is one release instead of two.
func (r *release) join(other *release) *release {
	joined := &release{From: min(r.From, other.From), Last: max(r.Last, other.Last)}
	if n := len(r.Filters) + len(other.Filters); len(r.Filters) > 0 && len(other.Filters) > 0 && n <= maxReleaseFilters {
		joined.Filters = append(append(joined.Filters, r.Filters...), other.Filters...)
	}
	return joined
}

// releaseUnwanted removes the messages from a sequence on that a filter matches and nobody needs: when they are many, with
// the entries that follow. It follows the removal of a consumer, or of filters, from a stream with interest retention, and that of a
// mirror's or source's consumer from a work queue.
func (m *Machine) releaseUnwanted(f subject.Filter, from uint64) error {
	if len(m.byID) == 0 {
		if err := m.endRelease(); err != nil {
			return err
		}
		return m.stream.ReleaseAll()
	}
	r := &release{Filters: f.Subjects(), From: from, Last: m.store.State().LastSeq}
	if m.release != nil {
		r = m.release.join(r)
	}
	return m.releaseSome(r)
}

// goOnReleasing does the next step of what releaseUnwanted began.
func (m *Machine) goOnReleasing() error {
	switch {
	case m.release == nil:
		return nil
	case m.stream.Config().Retention == api.LimitsRetention:
		return m.endRelease()
	}
	return m.releaseSome(m.release)
}

// releaseSome looks at as many messages as one entry may remove.
func (m *Machine) releaseSome(r *release) error {
	f, next := subject.NewFilter(r.Filters...), r.From
	for range m.stream.StepMost {
		info, ok, err := m.store.NextInfo(next)
		if err != nil {
			return err
		}
		if !ok || info.Seq > r.Last {
			return m.endRelease()
		}
		if f.Match(info.Subject) && m.finished(info.Subject, info.Seq) {
			if _, err := m.stream.Release(info.Seq); err != nil {
				return err
			}
		}
		if info.Seq == math.MaxUint64 {
			return m.endRelease()
		}
		next = info.Seq + 1
	}
	m.release = &release{Filters: r.Filters, From: next, Last: r.Last}
	doc, err := json.Marshal(m.release)
	base.Assert(err == nil, "release can not be encoded: %v", err)
	return m.store.Set(keyRelease, doc)
}

func (m *Machine) endRelease() error {
	if m.release == nil {
		return nil
	}
	m.release = nil
	return m.store.Unset(keyRelease)
}

func (m *Machine) loadRelease() error {
	doc, ok, err := m.store.Get(keyRelease)
	if err != nil || !ok {
		return err
	}
	m.release = &release{}
	if err := json.Unmarshal(doc, m.release); err != nil {
		return base.Corruptf("release does not decode: %w", err)
	}
	return nil
}
