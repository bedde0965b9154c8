package raftlog

import (
	"encoding/binary"

	"weir/internal/base"
)

// A mark says that the epoch before its own had reached the disk, what was in
// it, and which file is the oldest that the log still needs. Its body, all
// numbers as uvarints:
//
//	version of the mark (1), low, from, closes, sealed, count,
//	and count times as u64: group, replica, number of its last record
type mark struct {
	// low is the number of the oldest file that is needed.
	low uint64
	// The directory describes the epochs from to closes in full; 0 if there is none.
	// It is more than one after a torn epoch was cut.
	from, closes uint64
	// sealed is the number of the file that the directory describes in full; 0
	// if it describes one epoch only.
	sealed    uint64
	directory []directoryEntry
}

type directoryEntry struct {
	key groupKey
	seq uint64
}

const (
	markVersion        = 1
	directoryEntrySize = 24
)

func markBound(groups int) int { return 6*binary.MaxVarintLen64 + groups*directoryEntrySize }

func appendMark(dst []byte, m *mark, groups []*Group) []byte {
	dst = binary.AppendUvarint(dst, markVersion)
	dst = binary.AppendUvarint(dst, m.low)
	dst = binary.AppendUvarint(dst, m.from)
	dst = binary.AppendUvarint(dst, m.closes)
	dst = binary.AppendUvarint(dst, m.sealed)
	dst = binary.AppendUvarint(dst, uint64(len(groups)))
	for _, g := range groups {
		dst = binary.LittleEndian.AppendUint64(dst, uint64(g.key.group))
		dst = binary.LittleEndian.AppendUint64(dst, uint64(g.key.replica))
		dst = binary.LittleEndian.AppendUint64(dst, g.seq)
	}
	return dst
}

func decodeMark(body []byte) (mark, error) {
	d := base.Decoder{Rest: body}
	version := d.Uvarint()
	m := mark{low: d.Uvarint(), from: d.Uvarint(), closes: d.Uvarint(), sealed: d.Uvarint()}
	count := d.Uvarint()
	if d.Bad || version != markVersion || uint64(len(d.Rest)) != count*directoryEntrySize {
		return mark{}, base.Corruptf("mark of %d bytes does not parse (version %d)", len(body), version)
	}
	le := binary.LittleEndian
	m.directory = make([]directoryEntry, count)
	for i := range m.directory {
		p := d.Rest[i*directoryEntrySize:]
		m.directory[i] = directoryEntry{
			key: groupKey{base.GroupID(le.Uint64(p)), base.ReplicaID(le.Uint64(p[8:]))},
			seq: le.Uint64(p[16:]),
		}
	}
	return m, nil
}
