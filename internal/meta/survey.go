package meta

import (
	"slices"

	"weir/internal/api"
	"weir/internal/apierr"
	"weir/internal/base"
)

// Survey asks what is left of a memory group whose members have lost their majority.
// While it runs every replica that is not lost has stopped for good, and says
// how far its log goes; when all have, the group begins anew with what the furthest
// one has.
//
// That never makes two groups. Members may be one change behind what the group goes
// by, so a majority may be alive all the same; but whoever may vote in it is wanted or
// leaving, and so is asked. When all of them have answered nothing more can be
// committed under the old identities, which no assignment names any more. Nor is
// anything lost that a majority still has: of the logs of a majority the furthest has
// all that was committed. So a survey may begin on a mere suspicion.
type Survey struct {
	// Since is the meta index at which it began: answers name it.
	Since uint64 `json:"since"`
	// By asked for it; 0: it follows from Members and Lost.
	By      base.ReplicaID `json:"by,omitempty"`
	Remains []Remains      `json:"remains,omitempty"`
}

// Remains is where a stopped replica's log ends; 0, 0 when it holds nothing.
type Remains struct {
	Replica base.ReplicaID `json:"replica"`
	Term    uint64         `json:"term"`
	Index   uint64         `json:"index"`
}

// Seed is the replica of before a survey whose log and state the one of Initial
// takes over.
type Seed struct {
	Remains
	// Since is the meta index at which it was chosen.
	Since uint64 `json:"since"`
}

// Asks tells whether a survey waits for the answer of a replica.
func (a *Assignment) Asks(id base.ReplicaID) bool {
	return a.Survey != nil && !slices.ContainsFunc(a.Survey.Remains, func(r Remains) bool { return r.Replica == id })
}

// isGone tells that a member will never vote again: what it held is lost, its node came
// back with another store, or an operator removed its node while that was down.
func (t *transition) isGone(a *Assignment, r base.Replica) bool {
	n := t.byNode[r.Node]
	return slices.Contains(a.Lost, r.ID) || n == nil || n.Gone
}

// regroup begins, ends or drops the survey of a memory group as its assignment
// changes.
func (t *transition) regroup(a *Assignment) {
	gone := 0
	for _, r := range a.Members {
		if t.isGone(a, r) {
			gone++
		}
	}
	majority := len(a.Members)-gone > len(a.Members)/2
	if a.Storage() != api.MemoryStorage || majority && (a.Survey == nil || a.Survey.By == 0) {
		a.Survey = nil
		return
	}
	if a.Survey == nil {
		a.Survey = &Survey{Since: t.index}
	}
	asked := t.asked(a)
	known := Survey{Since: a.Survey.Since, By: a.Survey.By}
	for _, r := range a.Survey.Remains {
		if withID(asked, r.Replica) >= 0 {
			known.Remains = append(known.Remains, r)
		}
	}
	a.Survey = &known
	if len(asked) > 0 && len(known.Remains) == len(asked) {
		t.conclude(a)
	}
}

// asked are the replicas that may have something, or a vote.
func (t *transition) asked(a *Assignment) []base.Replica {
	asked := slices.Clone(a.Replicas)
	for _, l := range a.Leaving {
		asked = append(asked, l.Replica)
	}
	return slices.DeleteFunc(asked, func(r base.Replica) bool { return t.isGone(a, r) })
}

// conclude starts the group anew with what the furthest replica has; empty if
// none has anything.
func (t *transition) conclude(a *Assignment) {
	var best Remains
	for _, r := range a.Survey.Remains {
		if r.Term > best.Term || r.Term == best.Term && r.Index > best.Index {
			best = r
		}
	}
	var node base.NodeID
	for _, r := range t.asked(a) {
		if r.ID == best.Replica {
			node = r.Node
		}
	}
	reconfig := a.Reconfig
	t.restart(a)
	if best.Index == 0 {
		return
	}
	a.Reconfig, a.Seed = reconfig, &Seed{best, t.index}
	first := onNode(a.Replicas, node)
	if first < 0 { // it goes when those who are wanted have what it has
		a.Leaving = []Leaving{{t.newReplica(node), t.index}}
		a.Initial = []base.Replica{a.Leaving[0].Replica}
	} else {
		a.Initial = []base.Replica{a.Replicas[first]}
	}
	a.Members = slices.Clone(a.Initial)
}

func (t *transition) askSurvey(c *SurveyAsked) *apierr.Error {
	have := t.groups[c.Group]
	if have == nil || have.Storage() != api.MemoryStorage || have.Survey != nil || have.Revision != c.Revision || !have.has(c.By) {
		t.result.Stale, t.result.Assignment = true, have
		return nil
	}
	a := have.clone()
	a.Survey = &Survey{Since: t.index, By: c.By}
	t.put(Moved, a, nil)
	return nil
}

// tellRemains takes answers; those to another survey, and second ones, are passed over.
func (t *transition) tellRemains(c *RemainsTold) *apierr.Error {
	for _, told := range c.Told {
		have := t.groups[told.Group]
		if have == nil || !have.has(told.Replica) || !have.Asks(told.Replica) || have.Survey.Since != told.Since {
			continue
		}
		a := have.clone()
		a.Survey.Remains = append(a.Survey.Remains, told.Remains)
		t.put(Moved, a, nil)
	}
	return nil
}
