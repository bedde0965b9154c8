package jsapi

import (
	"weir/internal/api"
	"weir/internal/apierr"
	"weir/internal/base"
	"weir/internal/jetstream"
	"weir/internal/subject"
)

// maxSubjects is how many subjects one answer lists; more are asked for by
// offset.
const maxSubjects = 100_000

// streamInfo answers $JS.API.STREAM.INFO.<stream> on the stream's leader, with
// the deleted sequences and the subjects with their counts if asked for.
func (c *call) streamInfo() {
	var req api.StreamInfoRequest
	if !c.readOptional(&req) {
		return
	}
	st := c.replica()
	if st == nil {
		return
	}
	info := c.svc.describe(st)
	if info.Cluster == nil {
		info.Cluster = &api.ClusterInfo{Leader: c.svc.cfg.Name}
	}
	info.Alternates = c.alternates()
	doc := api.StreamInfoResponse{Response: c.response(), StreamInfo: info}
	var err error
	if req.DeletedDetails {
		err = listDeleted(st, &info.State)
	}
	if err == nil && req.SubjectsFilter != "" {
		doc.Paged, err = listSubjects(st, &info.State, req.SubjectsFilter, req.Offset)
	}
	if err != nil {
		c.readFailed(st, err)
		return
	}
	c.answer(doc)
}

// listDeleted fills in the sequences without a message.
func listDeleted(st *jetstream.Stream, state *api.StreamState) error {
	return st.Store().Reader().Deleted(func(first, last uint64) bool {
		for seq := max(first, 1); seq <= last; seq++ {
			state.Deleted = append(state.Deleted, seq)
		}
		return true
	})
}

// listSubjects fills in a page of the subjects that the filter matches.
func listSubjects(st *jetstream.Stream, state *api.StreamState, filter string, offset int) (p api.Paged, err error) {
	if !subject.Valid(filter) {
		return p, nil
	}
	offset = max(offset, 0)
	found := 0
	err = st.Store().Reader().Subjects(subject.NewFilter(filter), func(subj string, count uint64) bool {
		if found >= offset && len(state.Subjects) < maxSubjects {
			if state.Subjects == nil {
				state.Subjects = make(map[string]uint64)
			}
			state.Subjects[subj] = count
		}
		found++
		return true
	})
	if found > 0 {
		p = api.Paged{Total: found, Offset: offset, Limit: maxSubjects}
	}
	return p, err
}

// readFailed answers a request that met an error of the store. What is corrupt
// is never served.
func (c *call) readFailed(st *jetstream.Stream, err error) {
	st.NoteDamage(err)
	if base.IsCorrupt(err) {
		c.svc.cfg.Logger.Errorf("JetStream stream %s > %s: %v", c.Account, st.Name(), err)
	}
	c.fail(apierr.JSStreamGeneralErrorF(err))
}
