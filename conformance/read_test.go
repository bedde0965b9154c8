package conformance

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"weir/conformance/procs"
)

// stored is one message of a stream as a direct get shows it.
type stored struct {
	Seq  uint64
	ID   string // Nats-Msg-Id
	Hash [sha256.Size]byte
}

// readBatch is how many messages one batched direct get asks for.
const readBatch = 5000

// readStream reads all messages of a stream with batched direct gets, which the
// stream's leader answers.
func readStream(ctx context.Context, t *testing.T, nc *nats.Conn, stream string) []stored {
	t.Helper()
	var all []stored
	next := uint64(1)
	for {
		batch, err := readFrom(ctx, nc, stream, next)
		if err != nil {
			t.Fatalf("read %s from %d: %v", stream, next, err)
		}
		if len(batch) == 0 {
			return all
		}
		all = append(all, batch...)
		next = batch[len(batch)-1].Seq + 1
	}
}

func readFrom(ctx context.Context, nc *nats.Conn, stream string, from uint64) ([]stored, error) {
	inbox := nc.NewInbox()
	sub, err := nc.SubscribeSync(inbox)
	if err != nil {
		return nil, err
	}
	defer sub.Unsubscribe() //nolint:errcheck // the connection may be gone
	if err := sub.SetPendingLimits(-1, -1); err != nil {
		return nil, err
	}
	body, err := json.Marshal(map[string]uint64{"seq": from, "batch": readBatch})
	if err != nil {
		return nil, err
	}
	if err := nc.PublishRequest("$JS.API.DIRECT.GET."+stream, inbox, body); err != nil {
		return nil, err
	}
	var batch []stored
	for {
		m, err := sub.NextMsgWithContext(ctx)
		if err != nil {
			return nil, fmt.Errorf("after %d messages: %w", len(batch), err)
		}
		switch status := m.Header.Get("Status"); status {
		case "":
		case "204", "404": // end of batch; nothing from there on
			return batch, nil
		default:
			return nil, fmt.Errorf("status %s %s", status, m.Header.Get("Description"))
		}
		seq, err := strconv.ParseUint(m.Header.Get(jetstream.SequenceHeader), 10, 64)
		if err != nil {
			return nil, err
		}
		batch = append(batch, stored{Seq: seq, ID: m.Header.Get(jetstream.MsgIDHeader), Hash: digest(m)})
	}
}

// digest is of everything that is stored of a message.
func digest(m *nats.Msg) [sha256.Size]byte {
	m.Header.Del("Nats-Num-Pending") // where the message stands in the answer
	m.Header.Del("Nats-Last-Sequence")
	h := sha256.New()
	for _, key := range slices.Sorted(maps.Keys(m.Header)) {
		fmt.Fprintf(h, "%q %q\n", key, m.Header[key])
	}
	h.Write(m.Data)
	return [sha256.Size]byte(h.Sum(nil))
}

// replica is what one node's monitoring says of its replica of a stream.
type replica struct {
	State     jetstream.StreamState `json:"state"`
	Consumers []consumerState       `json:"consumer_detail"`
	Applied   uint64                `json:"applied"`
	StateHash string                `json:"state_hash"` // of all that is replicated, at Applied
}

type consumerState struct {
	Name      string                 `json:"name"`
	Delivered jetstream.SequenceInfo `json:"delivered"`
	AckFloor  jetstream.SequenceInfo `json:"ack_floor"`
}

// replicaOn reads /jsz.
func replicaOn(ctx context.Context, n *procs.Node, stream string) (*replica, error) {
	var doc struct {
		Accounts []struct {
			Streams []struct {
				Name string `json:"name"`
				replica
			} `json:"stream_detail"`
		} `json:"account_details"`
	}
	if err := n.Get(ctx, "/jsz?consumers=true&state-hash=true", &doc); err != nil {
		return nil, err
	}
	for _, a := range doc.Accounts {
		for i := range a.Streams {
			if a.Streams[i].Name == stream {
				return &a.Streams[i].replica, nil
			}
		}
	}
	return nil, fmt.Errorf("%s has no stream %s", n.Name, stream)
}

// leaderOf is the node that leads a stream whose other replicas are current.
func leaderOf(ctx context.Context, t *testing.T, c *procs.Cluster, js jetstream.JetStream, stream string) *procs.Node {
	t.Helper()
	var leader *procs.Node
	eventually(ctx, t, "all replicas of "+stream+" are current", func(ctx context.Context) error {
		s, err := js.Stream(ctx, stream)
		if err != nil {
			return err
		}
		info := s.CachedInfo().Cluster
		if info == nil || c.Named(info.Leader) == nil {
			return fmt.Errorf("no leader: %+v", info)
		}
		leader = c.Named(info.Leader)
		if len(info.Replicas) != len(c.Nodes)-1 {
			return fmt.Errorf("%d followers", len(info.Replicas))
		}
		for _, r := range info.Replicas {
			if !r.Current || r.Offline {
				return fmt.Errorf("follower %s: %+v", r.Name, *r)
			}
		}
		return nil
	})
	return leader
}
