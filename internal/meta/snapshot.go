package meta

import (
	"cmp"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"hash/fnv"
	"slices"

	"weir/internal/base"
)

// An image of the state is a magic word, a version, the CRC32C of the rest, and
// the rest in JSON, everything in order: equal states have equal images.
const (
	snapshotMagic   = "weirmeta"
	snapshotVersion = 1
	snapshotHeader  = len(snapshotMagic) + 1 + 4
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// image is the form of a State in a snapshot.
type image struct {
	Applied     uint64         `json:"applied"`
	ClusterID   string         `json:"cluster_id"`
	NextGroup   base.GroupID   `json:"next_group"`
	NextReplica base.ReplicaID `json:"next_replica"`
	Nodes       []*Node        `json:"nodes"`
	Streams     []*Assignment  `json:"streams"`
}

func (s *State) image() image {
	im := image{Applied: s.applied, ClusterID: s.clusterID, NextGroup: s.nextGroup, NextReplica: s.nextReplica}
	for _, n := range s.nodes {
		im.Nodes = append(im.Nodes, n)
	}
	slices.SortFunc(im.Nodes, func(a, b *Node) int { return cmp.Compare(a.Name, b.Name) })
	for _, id := range s.groupIDs() {
		im.Streams = append(im.Streams, s.groups[id])
	}
	return im
}

// Snapshot is an image of the whole state.
func (s *State) Snapshot() []byte { return encodeImage(s.image()) }

func encodeImage(im image) []byte {
	body, err := json.Marshal(im)
	base.Assert(err == nil, "meta: encoding the state: %v", err)
	return seal(body)
}

// seal puts the header before the body of an image.
func seal(body []byte) []byte {
	buf := make([]byte, 0, snapshotHeader+len(body))
	buf = append(buf, snapshotMagic...)
	buf = append(buf, snapshotVersion)
	buf = binary.BigEndian.AppendUint32(buf, crc32.Checksum(body, castagnoli))
	return append(buf, body...)
}

// Restore reads an image. An error is marked as corruption unless the image is
// of a newer version.
func Restore(data []byte) (*State, error) {
	if len(data) < snapshotHeader || string(data[:len(snapshotMagic)]) != snapshotMagic {
		return nil, base.Corruptf("not an image of the meta state: %d bytes", len(data))
	}
	if v := data[len(snapshotMagic)]; v != snapshotVersion {
		return nil, fmt.Errorf("image of the meta state of version %d: want %d", v, snapshotVersion)
	}
	body := data[snapshotHeader:]
	want := binary.BigEndian.Uint32(data[snapshotHeader-4:])
	if got := crc32.Checksum(body, castagnoli); got != want {
		return nil, base.Corruptf("image of the meta state: checksum %08x, want %08x", got, want)
	}
	var im image
	if err := json.Unmarshal(body, &im); err != nil {
		return nil, base.Corruptf("image of the meta state: %w", err)
	}
	s := New()
	s.applied, s.clusterID, s.nextGroup, s.nextReplica = im.Applied, im.ClusterID, im.NextGroup, im.NextReplica
	for _, n := range im.Nodes {
		if n == nil || s.nodes[n.Name] != nil || s.byNode[n.ID] != nil {
			return nil, base.Corruptf("image of the meta state: node %+v stands twice", n)
		}
		s.nodes[n.Name], s.byNode[n.ID] = n, n
	}
	for _, a := range im.Streams {
		if a == nil {
			return nil, base.Corruptf("image of the meta state: no stream")
		}
		if err := a.setConfig(a.RawConfig); err != nil {
			return nil, base.Corruptf("image of the meta state: stream %s %s: %w", a.Account, a.Name, err)
		}
		if s.groups[a.Group] != nil || s.Stream(a.Account, a.Name) != nil {
			return nil, base.Corruptf("image of the meta state: stream %s %s stands twice", a.Account, a.Name)
		}
		s.attach(a)
	}
	return s, nil
}

// Hash is the same for equal states with equal Applied.
func (s *State) Hash() uint64 {
	h := fnv.New64a()
	h.Write(s.Snapshot())
	return h.Sum64()
}
