package meta

import (
	"bytes"
	"encoding/json"
	"slices"

	"weir/internal/api"
	"weir/internal/apierr"
	"weir/internal/base"
	"weir/internal/subject"
)

// createStream: an equal stream is found again, a different one of that name is
// 10058; then subjects, limits and the chosen nodes are judged. A restore takes the
// place of another one of its name, as the client of that may be gone.
func (t *transition) createStream(c *StreamCreate) *apierr.Error {
	a := &Assignment{
		Account: c.Account, RaftName: c.RaftName, Cluster: c.Cluster, ConfigVersion: 1,
		Created: t.time, Request: c.Request, Preferred: c.Preferred, Restoring: c.Restore,
	}
	if err := a.setConfig(c.Config); err != nil {
		return apierr.JSInvalidJSONErr(err)
	}
	a.Name = a.Config.Name
	if err := checkConfig(a.Config); err != nil {
		return err
	}
	if have := t.Stream(a.Account, a.Name); have != nil {
		if c.Restore && have.Restoring {
			return t.restoreAgain(have, a, c)
		}
		if c.Restore {
			return apierr.JSStreamNameExistRestoreFailedErr
		}
		if have.Restoring || !SameConfig(have.RawConfig, a.RawConfig) {
			return apierr.JSStreamNameExistErr
		}
		t.result.Existing, t.result.Assignment = true, have
		return nil
	}
	if err := t.checkNew(a, c); err != nil {
		return err
	}
	t.assign(a, c)
	return nil
}

// restoreAgain puts a restore in the place of one under way, whose client is gone
// or gave it up.
func (t *transition) restoreAgain(have, a *Assignment, c *StreamCreate) *apierr.Error {
	if err := t.checkNew(a, c); err != nil {
		return err
	}
	t.drop(have, nil)
	t.assign(a, c)
	return nil
}

// checkNew judges a new stream by the others and by the nodes there are. One of
// its own name does not count.
func (t *transition) checkNew(a *Assignment, c *StreamCreate) *apierr.Error {
	if t.TakenBy(a.Account, a.Name, a.Config.Subjects) != "" {
		return apierr.JSStreamSubjectOverlapErr
	}
	if err := t.checkCount(a, c.Limits); err != nil {
		return err
	}
	if err := t.checkBytes(a, c.Limits); err != nil {
		return err
	}
	return t.checkNodes(c.Nodes, a.Config.Replicas)
}

// assign gives a new stream its group and replicas.
func (t *transition) assign(a *Assignment, c *StreamCreate) {
	a.Group = t.nextGroup
	t.nextGroup++
	for _, node := range c.Nodes {
		a.Replicas = append(a.Replicas, t.newReplica(node))
	}
	a.Initial, a.Members = slices.Clone(a.Replicas), slices.Clone(a.Replicas)
	t.put(Created, a, c.Request)
}

// checkConfig judges what the state itself depends on; the rest was validated
// by the proposer.
func checkConfig(config *api.StreamConfig) *apierr.Error {
	if config.Name == "" {
		return apierr.JSStreamInvalidConfigF("stream name is required")
	}
	for _, subj := range config.Subjects {
		if !subject.Valid(subj) {
			return apierr.JSStreamInvalidConfigF("invalid subject")
		}
	}
	return nil
}

func (t *transition) updateStream(c *StreamUpdate) *apierr.Error {
	have := t.Stream(c.Account, c.Name)
	if have == nil {
		return apierr.JSStreamNotFoundErr
	}
	if c.IfRevision != 0 && c.IfRevision != have.Revision {
		t.result.Stale, t.result.Assignment = true, have
		return nil
	}
	a := have.clone()
	if err := a.setConfig(c.Config); err != nil {
		return apierr.JSInvalidJSONErr(err)
	}
	if a.Config.Name != a.Name {
		return apierr.JSStreamMismatchErr
	}
	if err := checkConfig(a.Config); err != nil {
		return err
	}
	if a.Storage() != have.Storage() {
		return apierr.JSStreamInvalidConfigF("stream configuration update can not change storage type")
	}
	if err := checkReconfig(have, a, c.Nodes); err != nil {
		return err
	}
	if t.TakenBy(a.Account, a.Name, a.Config.Subjects) != "" {
		return apierr.JSStreamSubjectOverlapErr
	}
	if err := checkConsumers(a, c.Limits); err != nil {
		return err
	}
	if err := t.checkBytes(a, c.Limits); err != nil {
		return err
	}
	a.ConfigVersion++
	a.Preferred = c.Preferred
	if c.Nodes != nil {
		if err := t.checkNodes(c.Nodes, a.Config.Replicas); err != nil {
			return err
		}
		t.want(a, c.Nodes)
		a.Cluster = c.Cluster
		a.rename(len(have.Replicas), c.RaftName)
		t.beginReconfig(a, have)
	}
	t.put(Configured, a, c.Request)
	return nil
}

// rename takes a new group name when the group goes from or to one replica.
func (a *Assignment) rename(replicasBefore int, name string) {
	if name != "" && (replicasBefore == 1) != (len(a.Replicas) == 1) {
		a.RaftName = name
	}
}

// checkReconfig judges a change of replicas against a running one, in the order
// of the established server: move and scale together, move or scale during a
// move, move during a scale. Scales may stack.
func checkReconfig(have, next *Assignment, nodes []base.NodeID) *apierr.Error {
	scale := next.Config.Replicas != have.Config.Replicas
	move := !samePlacement(have.Config.Placement, next.Config.Placement)
	if nodes != nil && !scale {
		move = move || slices.ContainsFunc(have.Replicas, func(r base.Replica) bool { return !slices.Contains(nodes, r.Node) })
	}
	switch running := have.Reconfig; {
	case move && scale:
		return apierr.JSStreamMoveAndScaleErr
	case (move || scale) && running != nil && running.Kind == Move:
		return apierr.JSStreamMoveInProgressErr
	case move && running != nil:
		return apierr.JSStreamReconfigureInProgressErr
	case scale && nodes == nil:
		return apierr.JSStreamUpdateErrF("change of replicas without nodes")
	}
	return nil
}

func samePlacement(a, b *api.Placement) bool {
	encode := func(p *api.Placement) []byte {
		if p == nil {
			p = new(api.Placement)
		}
		wanted := api.Placement{Cluster: p.Cluster, Tags: p.Tags}
		buf, err := json.Marshal(wanted)
		base.Assert(err == nil, "encoding a placement: %v", err)
		return buf
	}
	return bytes.Equal(encode(a), encode(b))
}

// beginReconfig notes what the change of replicas started from, unless one is
// running: a cancel goes back to the first start.
func (t *transition) beginReconfig(a, from *Assignment) {
	if sameSet(a.Replicas, a.Members) {
		a.Reconfig = nil
		return
	}
	if a.Reconfig != nil {
		return
	}
	kind := Move
	if a.Config.Replicas != from.Config.Replicas {
		kind = Scale
	}
	a.Reconfig = &Reconfig{
		Kind: kind, Started: t.time,
		FromReplicas: from.Config.Replicas, FromPlacement: from.Config.Placement,
		FromMembers: slices.Clone(from.Replicas), FromCluster: from.Cluster,
	}
}

// cancelMove goes back to the replicas and configuration from before.
func (t *transition) cancelMove(c *StreamCancelMove) *apierr.Error {
	have := t.Stream(c.Account, c.Name)
	if have == nil || have.Restoring {
		return apierr.JSStreamNotFoundErr
	}
	from := have.Reconfig
	if from == nil {
		return apierr.JSStreamReconfigureNotInProgressErr
	}
	var placement any
	if from.FromPlacement != nil {
		placement = from.FromPlacement
	}
	raw, err := editConfig(have.RawConfig, map[string]any{"num_replicas": from.FromReplicas, "placement": placement})
	if err != nil {
		return apierr.JSStreamUpdateErrF(err)
	}
	var nodes []base.NodeID
	for _, r := range from.FromMembers {
		if n := t.byNode[r.Node]; n != nil && !n.Removed {
			nodes = append(nodes, r.Node)
		}
	}
	if len(nodes) == 0 {
		return apierr.JSPeerRemapErr
	}
	a := have.clone()
	if err := a.setConfig(raw); err != nil {
		return apierr.JSStreamUpdateErrF(err)
	}
	t.want(a, nodes)
	a.ConfigVersion++
	a.Preferred, a.Cluster = 0, from.FromCluster
	if sameSet(a.Replicas, a.Members) {
		a.Reconfig = nil
	}
	t.put(Configured, a, c.Request)
	return nil
}

func (t *transition) deleteStream(c *StreamDelete) *apierr.Error {
	a := t.Stream(c.Account, c.Name)
	if a == nil || c.Group != 0 && c.Group != a.Group {
		return apierr.JSStreamNotFoundErr
	}
	t.drop(a, c.Request)
	return nil
}

// endRestore does nothing where it was done before: who proposed it may not have heard.
func (t *transition) endRestore(c *RestoreEnded) *apierr.Error {
	have := t.groups[c.Group]
	switch {
	case have == nil && c.Kept:
		return apierr.JSStreamNotFoundErr
	case have == nil || !have.Restoring:
		return nil
	case !c.Kept:
		t.drop(have, nil)
		return nil
	}
	a := have.clone()
	a.Restoring = false
	t.put(Configured, a, nil)
	return nil
}

func (t *transition) purgeAccount(c *AccountPurge) *apierr.Error {
	for _, a := range t.Streams(c.Account) {
		t.drop(a, nil)
	}
	return nil
}
