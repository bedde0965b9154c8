package raftlog

import (
	"encoding/hex"
	"fmt"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"
	"github.com/cockroachdb/pebble/v2/vfs"
	pb "go.etcd.io/raft/v3/raftpb"

	"weir/internal/base"
)

// TestTranscripts runs testdata/*: see command for what there is to say.
func TestTranscripts(t *testing.T) {
	datadriven.Walk(t, "testdata", func(t *testing.T, path string) {
		s := &transcript{t: t, options: crashOptions(vfs.NewCrashableMem())}
		s.options.Stamp = func() uint64 { return 0x0123456789abcdef }
		s.log = mustOpen(t, s.options)
		defer func() { s.log.Close() }()
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			s.t, s.d = t, d
			return s.command()
		})
	})
}

type transcript struct {
	t       *testing.T
	d       *datadriven.TestData
	options Options
	log     *Log
}

func (s *transcript) number(name string) (n uint64) {
	s.d.MaybeScanArgs(s.t, name, &n)
	return n
}

func (s *transcript) group() *Group {
	return s.log.Group(base.GroupID(s.number("group")), 1)
}

func (s *transcript) command() string {
	switch s.d.Cmd {
	case "append": // group first term data=(…) commit vote snapshot=(index,term) voters=(…) conf=index
		return s.append()
	case "compact": // group index
		s.group().Compact(s.number("index"))
		return s.state(s.group())
	case "remove": // group
		return fmt.Sprintln(s.group().Remove())
	case "log": // group
		return s.state(s.group())
	case "entries": // group lo hi max
		es, err := s.group().Entries(s.number("lo"), s.number("hi"), s.number("max"))
		return formatEntries(es) + fmt.Sprintln(err)
	case "term": // group index
		return fmt.Sprintln(s.group().Term(s.number("index")))
	case "reopen":
		if err := s.log.Close(); err != nil {
			return err.Error()
		}
		s.log = mustOpen(s.t, s.options)
		return s.groups()
	case "fill": // group files: appends and compacts until so many files were used up, then removes
		fillFiles(s.t, s.log, base.GroupID(s.number("group")), int(s.number("files")))
		out := fmt.Sprintf("pressure %v\n", s.log.Pressure())
		return out + fmt.Sprintln(s.group().Remove())
	case "dump": // the records of the first file
		return s.dump()
	default:
		return "unknown command\n"
	}
}

func (s *transcript) append() string {
	g := s.group()
	b := Batch{Group: g.ID(), Replica: g.Replica()}
	var data []string
	var at, voters []uint64
	s.d.MaybeScanArgs(s.t, "data", &data)
	s.d.MaybeScanArgs(s.t, "snapshot", &at)
	s.d.MaybeScanArgs(s.t, "voters", &voters)
	if len(data) > 0 {
		b.Entries = entries(s.number("first"), s.number("term"), data...)
	}
	if s.d.HasArg("commit") {
		b.HardState = hard(s.number("term"), s.number("vote"), s.number("commit"))
	}
	if len(at) > 0 {
		b.Snapshot = &SnapshotMark{Index: at[0], Term: at[1], ConfState: &pb.ConfState{Voters: voters}, Members: []byte("m")}
	} else if len(voters) > 0 {
		b.ConfState = &ConfMark{Index: s.number("conf"), ConfState: &pb.ConfState{Voters: voters}, Members: []byte("m")}
	}
	if err := appendWait(s.log, b); err != nil {
		return err.Error() + "\n"
	}
	return s.state(g)
}

func (s *transcript) state(g *Group) string {
	first, err := g.FirstIndex()
	if err != nil {
		return err.Error() + "\n"
	}
	last, _ := g.LastIndex()
	_, baseTerm := g.Base()
	conf, err := g.ConfState()
	if err != nil {
		return err.Error() + "\n"
	}
	h := hardOf(g.HardState())
	out := fmt.Sprintf("(%d/%d, %d] term %d vote %d commit %d conf %v at %d %q\n",
		first-1, baseTerm, last, h.term, h.vote, h.commit, conf.ConfState.Voters, conf.Index, conf.Members)
	if last >= first {
		es, err := g.Entries(first, last+1, 1<<30)
		if err != nil {
			return out + err.Error() + "\n"
		}
		out += formatEntries(es)
	}
	return out
}

func formatEntries(es []*pb.Entry) string {
	var b strings.Builder
	for _, e := range es {
		fmt.Fprintf(&b, "%d/%d %.20s\n", e.GetIndex(), e.GetTerm(), e.Data)
	}
	return b.String()
}

func (s *transcript) groups() string {
	var b strings.Builder
	for _, i := range s.log.Groups() {
		fmt.Fprintf(&b, "%v [%d, %d] commit %d damaged %v\n", i.Group, i.FirstIndex, i.LastIndex, i.HardState.GetCommit(), i.Damaged)
	}
	return b.String()
}

// dump shows the bytes of the format: a change of it needs a new version.
func (s *transcript) dump() string {
	fs := s.options.FS
	if err := s.log.Close(); err != nil {
		return err.Error()
	}
	defer func() { s.log = mustOpen(s.t, s.options) }()
	var b strings.Builder
	for _, r := range listRecords(s.t, fs) {
		data := readAll(s.t, fs, r.path)[r.h.at:]
		fmt.Fprintf(&b, "%d kind %d %v seq %d epoch %d\n  %s\n  %s\n", r.h.at, r.h.kind, r.h.key.group, r.h.seq, r.h.epoch,
			hex.EncodeToString(data[:headerSize]), hex.EncodeToString(data[headerSize:][:r.h.bodyLen]))
	}
	return b.String()
}

func FuzzDecode(f *testing.F) {
	b := Batch{HardState: hard(1, 2, 3), Entries: entries(4, 1, "a", "b"),
		Snapshot: &SnapshotMark{Index: 3, Term: 1, ConfState: &pb.ConfState{Voters: []uint64{1}}}}
	conf, err := encodeConf(&b)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(appendBatch(nil, &b, conf))
	f.Add(appendAnchor(nil, hardState{1, 2, 3}, conf, anchor{position{1, 1}, position{3, 1}}))
	f.Add(appendMark(nil, &mark{low: 1, from: 2, closes: 2}, []*Group{{seq: 3}}))
	f.Fuzz(func(t *testing.T, body []byte) {
		if c, err := decodeBatch(body); err == nil {
			c.visitTerms(func(uint64, uint64) {})
			if c.has(partConf) {
				decodeConf(c.conf)
			}
		}
		decodeMark(body)
	})
}
