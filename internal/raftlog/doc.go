// Package raftlog keeps the Raft logs and hard states of every group of a node
// in one write-ahead log.
//
// # Writing
//
// Append hands a batch of one group to the writer goroutine. The writer takes
// everything that waits, encodes one record per batch, writes once, syncs once
// and completes the batches in order: group commit. A failed write or sync is
// fatal to the log, because nobody knows what the disk holds afterwards. A relaxed
// batch is completed by the write; the sync follows with the next batch that needs
// one, or a moment later.
//
// # Files
//
// The log is a sequence of numbered segment files that are filled with zeros
// before use, so that a sync moves data only. A segment that no group needs is
// recycled under the next number with a new random stamp. Every record carries
// the stamp of the file and its own offset, so that what an earlier use of the
// file left behind (which may be a client's payload) is never taken for a
// record. A file gets its final name only after its header is durable.
//
// # Epochs, marks, and what is a torn tail
//
// All records that one sync makes durable form an epoch, and an epoch lies in
// one file. A record of epoch e+1 is written only after the sync of epoch e
// returned, so it proves that e had reached the disk: damage in e is then
// corruption. Damage in the last epoch is a torn tail and is cut: nothing in it
// but relaxed batches was acknowledged. The first record of each epoch is a mark with the directory
// of the epoch before: each group written there and the number of its last
// record. (When the writer runs dry it writes the mark at once, unsynced, so that
// even the last epoch of an idle log is usually proven.) The first mark in a file
// holds the directory of the whole file before it.
//
// # Which group is damaged
//
// Records of a replica are numbered without gaps. A damaged record whose header
// can be read names its group; otherwise the directory tells whose count falls
// short. If the directory is gone too, every group not heard of since is
// suspected. A damaged group is reported by Groups and refuses all use; the
// others go on.
//
// # Anchors
//
// Recovery of a replica starts at an anchor: its first record ever, or a record
// that repeats its hard state, conf state, compaction mark and last index. Before
// the oldest file is recycled, the replicas anchored there get a new anchor in
// the current file, durably. Entries that are not compacted hold a file back.
package raftlog
