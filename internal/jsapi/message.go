package jsapi

import (
	"weir/internal/api"
	"weir/internal/base"
	"weir/internal/jetstream"
	"weir/internal/msg"
	"weir/internal/subject"
)

// selects tells whether a request names one message, in one way: a sequence, the
// last of a subject, or the next of a subject or of all from a sequence or time.
func selects(r *api.StreamMsgGetRequest) bool {
	switch {
	case r.Seq > 0 && r.LastFor != "", r.Seq > 0 && r.StartTime != nil, r.LastFor != "" && r.NextFor != "",
		r.LastFor != "" && r.StartTime != nil:
		return false
	}
	return r.Seq > 0 || r.LastFor != "" || r.NextFor != "" || r.StartTime != nil
}

// loadMessage reads the message that a request selects; false when there is none.
func loadMessage(st *jetstream.Stream, r *api.StreamMsgGetRequest, m *msg.Message) (bool, error) {
	read := st.Store().Reader()
	if r.LastFor != "" && !subject.Valid(r.LastFor) || r.NextFor != "" && !subject.Valid(r.NextFor) {
		return false, nil // no message has such a subject
	}
	if r.LastFor != "" {
		if !subject.HasWildcard(r.LastFor) {
			return read.LoadLast(r.LastFor, m, nil)
		}
		seq, ok, err := read.LastMatching(subject.NewFilter(r.LastFor), read.State().LastSeq)
		if err != nil || !ok {
			return false, err
		}
		return read.Load(seq, m, nil)
	}
	if r.NextFor == "" && r.StartTime == nil {
		return read.Load(r.Seq, m, nil)
	}
	from, err := startOf(st, r)
	if err != nil {
		return false, err
	}
	return read.Next(from, filterOf(r), m, nil)
}

// startOf is the first sequence that a request is about.
func startOf(st *jetstream.Stream, r *api.StreamMsgGetRequest) (uint64, error) {
	if r.StartTime != nil {
		return st.Store().Reader().SeqAtTime(base.UnixNano(*r.StartTime))
	}
	return max(r.Seq, 1), nil
}

func filterOf(r *api.StreamMsgGetRequest) subject.Filter {
	if r.NextFor == "" {
		return subject.NewFilter()
	}
	return subject.NewFilter(r.NextFor)
}
