package rafthost

import (
	"fmt"

	"weir/internal/base"
)

// raftPanic is what the raft library's Panicf and Fatalf become: the replica is
// stopped with it, the process goes on.
type raftPanic struct{ text string }

func (p raftPanic) Error() string { return "raft: " + p.text }

// raftLogger passes the raft library's log on, one level down: its elections
// are our debug output.
type raftLogger struct {
	out   base.Logger
	group base.GroupID
}

func (l raftLogger) Debug(...any)             {}
func (l raftLogger) Debugf(string, ...any)    {}
func (l raftLogger) Info(v ...any)            { l.out.Tracef("raft %v: %s", l.group, fmt.Sprint(v...)) }
func (l raftLogger) Infof(f string, v ...any) { l.out.Tracef("raft "+l.group.String()+": "+f, v...) }
func (l raftLogger) Warning(v ...any)         { l.out.Debugf("raft %v: %s", l.group, fmt.Sprint(v...)) }
func (l raftLogger) Warningf(f string, v ...any) {
	l.out.Debugf("raft "+l.group.String()+": "+f, v...)
}
func (l raftLogger) Error(v ...any) { l.out.Warnf("raft %v: %s", l.group, fmt.Sprint(v...)) }
func (l raftLogger) Errorf(f string, v ...any) {
	l.out.Warnf("raft "+l.group.String()+": "+f, v...)
}
func (l raftLogger) Fatal(v ...any)            { panic(raftPanic{fmt.Sprint(v...)}) }
func (l raftLogger) Fatalf(f string, v ...any) { panic(raftPanic{fmt.Sprintf(f, v...)}) }
func (l raftLogger) Panic(v ...any)            { panic(raftPanic{fmt.Sprint(v...)}) }
func (l raftLogger) Panicf(f string, v ...any) { panic(raftPanic{fmt.Sprintf(f, v...)}) }
