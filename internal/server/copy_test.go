package server

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/nats-io/nats.go/jetstream"
)

// TestCopiesSurviveRestarts has a mirror and a sourcing stream follow an origin
// while every node goes and comes back, and wants each message once.
func TestCopiesSurviveRestarts(t *testing.T) {
	c := startCluster(t, 3)
	ctx, cancel := context.WithTimeout(context.Background(), testTime)
	defer cancel()
	_, js := c.connect(0)
	for _, cfg := range []jetstream.StreamConfig{
		{Name: "O", Subjects: []string{"o.>"}, Replicas: 3},
		{Name: "M", Mirror: &jetstream.StreamSource{Name: "O"}, Replicas: 3},
		{Name: "F", Replicas: 3, Sources: []*jetstream.StreamSource{{
			Name:              "M",
			SubjectTransforms: []jetstream.SubjectTransformConfig{{Source: "o.*", Destination: "f.{{wildcard(1)}}"}},
		}}},
	} {
		if _, err := js.CreateStream(ctx, cfg); err != nil {
			t.Fatalf("create %s: %v", cfg.Name, err)
		}
	}
	published := 0
	for round := range 3 {
		_, js := c.connect((round + 1) % 3)
		c.stop(round)
		for range 20 {
			publish(ctx, t, js, fmt.Sprintf("o.%d", published))
			published++
		}
		c.start(round)
		c.ready(round)
	}
	_, js = c.connect(1)
	for _, name := range []string{"M", "F"} {
		untilCopied(ctx, t, js, name, uint64(published))
	}
	compareCopies(ctx, t, js, published)
}

func untilCopied(ctx context.Context, t *testing.T, js jetstream.JetStream, name string, want uint64) {
	t.Helper()
	for {
		var got uint64
		s, err := js.Stream(ctx, name)
		if err == nil {
			got = s.CachedInfo().State.LastSeq
		}
		if got >= want {
			return
		}
		if ctx.Err() != nil {
			t.Fatalf("%s has %d of %d messages: %v", name, got, want, err)
		}
	}
}

func compareCopies(ctx context.Context, t *testing.T, js jetstream.JetStream, n int) {
	t.Helper()
	get := func(stream string, seq int) *jetstream.RawStreamMsg {
		s, err := js.Stream(ctx, stream)
		if err != nil {
			t.Fatal(err)
		}
		m, err := s.GetMsg(ctx, uint64(seq))
		if err != nil {
			t.Fatalf("message %d of %s: %v", seq, stream, err)
		}
		return m
	}
	for seq := 1; seq <= n; seq++ {
		o, m, f := get("O", seq), get("M", seq), get("F", seq)
		if o.Subject != m.Subject || !o.Time.Equal(m.Time) || !bytes.Equal(o.Data, m.Data) {
			t.Fatalf("the mirror has %+v for %+v", m, o)
		}
		if want := "f" + o.Subject[1:]; f.Subject != want || !bytes.Equal(o.Data, f.Data) {
			t.Fatalf("the sourcing stream has %+v for %+v", f, o)
		}
		from := fmt.Sprintf("M %d o.* f.{{wildcard(1)}} %s ", seq, o.Subject)
		identity, ok := strings.CutPrefix(f.Header.Get("Nats-Stream-Source"), from)
		if !ok || len(identity) != 8 {
			t.Fatalf("source %q, want %q and an identity", f.Header.Get("Nats-Stream-Source"), from)
		}
	}
}

// TestOriginReplaced deletes an origin and makes it anew: the stream that sources
// it goes on with all that the new one has.
func TestOriginReplaced(t *testing.T) {
	c := startCluster(t, 3)
	ctx, cancel := context.WithTimeout(context.Background(), testTime)
	defer cancel()
	_, js := c.connect(0)
	origin := jetstream.StreamConfig{Name: "O", Subjects: []string{"o.>"}}
	if _, err := js.CreateStream(ctx, origin); err != nil {
		t.Fatal(err)
	}
	if _, err := js.CreateStream(ctx, jetstream.StreamConfig{Name: "F", Sources: []*jetstream.StreamSource{{Name: "O"}}}); err != nil {
		t.Fatal(err)
	}
	for i := range 5 {
		publish(ctx, t, js, fmt.Sprintf("o.old%d", i+1))
	}
	untilCopied(ctx, t, js, "F", 5)
	if err := js.DeleteStream(ctx, "O"); err != nil {
		t.Fatal(err)
	}
	if _, err := js.CreateStream(ctx, origin); err != nil {
		t.Fatal(err)
	}
	publish(ctx, t, js, "o.new1")
	publish(ctx, t, js, "o.new2")
	untilCopied(ctx, t, js, "F", 7)
	s, err := js.Stream(ctx, "F")
	if err != nil {
		t.Fatal(err)
	}
	for seq, want := range map[uint64]string{5: "o.old5", 6: "o.new1", 7: "o.new2"} {
		if m, err := s.GetMsg(ctx, seq); err != nil || m.Subject != want {
			t.Errorf("message %d: %v, %v; want %s", seq, m, err, want)
		}
	}
}
