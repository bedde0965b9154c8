package msgstore

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"slices"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"weir/internal/base"
	"weir/internal/msg"
)

// frames cuts an image in frames without checksums; sealFrames puts those that fit.
func frames(image []byte) (bare []byte) {
	for len(image) > 0 {
		n := 5 + int(binary.LittleEndian.Uint32(image[1:]))
		bare = append(bare, image[:n]...)
		image = image[n+4:]
	}
	return bare
}

func sealFrames(bare []byte) (image []byte) {
	for len(bare) >= 5 {
		n := 5 + int(binary.LittleEndian.Uint32(bare[1:]))
		if n > len(bare) {
			break
		}
		image = binary.LittleEndian.AppendUint32(append(image, bare[:n]...), crc32.Checksum(bare[:n], castagnoli))
		bare = bare[n:]
	}
	return append(image, bare...)
}

// FuzzImage restores images of any frames, with checksums that fit: what is none changes
// nothing, what is one can be read.
func FuzzImage(f *testing.F) {
	db := openTest(f, vfs.NewMem())
	store, err := db.Store(1, 1)
	if err != nil {
		f.Fatal(err)
	}
	for seq := range uint64(3) {
		if err := store.Append(&msg.Message{Seq: seq + 1, Time: int64(seq) + 1, Subject: "a", Data: []byte("x")}); err != nil {
			f.Fatal(err)
		}
	}
	if err := store.Set([]byte("key"), []byte("value")); err != nil {
		f.Fatal(err)
	}
	if err := store.Commit(1); err != nil {
		f.Fatal(err)
	}
	image, err := store.Snapshot()
	if err != nil {
		f.Fatal(err)
	}
	var whole bytes.Buffer
	if _, err := image.WriteTo(&whole); err != nil {
		f.Fatal(err)
	}
	if !bytes.Equal(sealFrames(frames(whole.Bytes())), whole.Bytes()) {
		f.Fatal("the frames make another image")
	}
	f.Add(frames(whole.Bytes()))
	f.Add(frames(slices.Concat(whole.Bytes(), whole.Bytes())))
	f.Fuzz(func(t *testing.T, bare []byte) {
		before, err := store.Hash()
		if err != nil {
			t.Fatal(err)
		}
		failed := store.Restore(bytes.NewReader(sealFrames(bare)))
		after, err := store.Hash()
		if err != nil {
			t.Fatalf("after a restore that ended with %v: %v", failed, err)
		}
		if failed != nil && before != after {
			t.Fatalf("%v changed the store", failed)
		}
	})
}

// FuzzIndexRecords reads any bytes as what the store keeps in its index: they are that, or
// damaged.
func FuzzIndexRecords(f *testing.F) {
	f.Add((&segment{base: 1, last: 9, size: segmentHead + 90, count: 9, dead: 2, deadBytes: 20, format: compactFormat}).encode(nil))
	f.Add((&meta{applied: 7, state: msg.State{Msgs: 1}}).encode(nil))
	f.Add(subjectTotal{3, 1, 9}.encode(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		g, err := decodeSegment(1, b)
		if err == nil && (g.live() < 0 || g.size < segmentHead) {
			t.Fatalf("%d live records in %d bytes", g.live(), g.size)
		}
		_, err2 := decodeMeta(b)
		_, err3 := decodeTotal(b)
		for _, err := range []error{err, err2, err3} {
			if err != nil && !base.IsCorrupt(err) {
				t.Fatal(err)
			}
		}
	})
}
