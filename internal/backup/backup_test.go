package backup

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/s2"

	"weir/internal/api"
	"weir/internal/msg"
)

// observed is a backup that nats-server 2.15.2 made, uncompressed: a stream with five messages, of which the fourth was
// deleted, and the durable C that had the first three delivered twice over and acked the third.
func observed(t testing.TB) []byte {
	head := `{"messages":4,"bytes":167,"first_seq":1,"first_ts":"2026-11-23T15:16:55.605142801Z","last_seq":5,` +
		`"last_ts":"2026-11-23T15:16:55.685189389Z","num_subjects":4,"num_deleted":1,"consumer_count":1}`
	consumer := `{"config":{"durable_name":"C","name":"C","deliver_policy":"all","ack_policy":"explicit","ack_wait":30000000000,` +
		`"max_deliver":-1,"replay_policy":"instant","max_waiting":512,"max_ack_pending":1000,"num_replicas":0,` +
		`"metadata":{"_nats.req.level":"0"},"pause_until":"0001-01-01T00:00:00Z"},"state":{"delivered":{"consumer_seq":5,` +
		`"stream_seq":3},"ack_floor":{"consumer_seq":0,"stream_seq":0},"pending":{"1":{"Sequence":1,` +
		`"Timestamp":1795447015605142801},"2":{"Sequence":2,"Timestamp":1795447015623756872}},"redelivered":{"1":1,"2":1}}}`
	const made = "d8f1e3b58be3daea31" // of the entries before the messages
	parts := []string{
		hex.EncodeToString([]byte("NATSARC1")),
		"0a", made, "0000", "c001", hex.EncodeToString([]byte("state.json" + head)),
		"0b", made, "0000", hex.EncodeToString(binary.AppendUvarint(nil, uint64(len(consumer)))), hex.EncodeToString([]byte("consumers/C" + consumer)),
		"03a294f0a289e3daea31010005732e6168656c6c6f",
		"0390b1d0b489e3daea31021205732e624e4154532f312e300d0a4b3a20760d0a0d0a776f726c64",
		"0390d58ec789e3daea31030000732e63",
		"039abc9bef89e3daea31050003732e65627965",
		"0000000000",
	}
	data, err := hex.DecodeString(strings.Join(parts, ""))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// tailSize is the length of the observed messages with the end.
const tailSize = 21 + 39 + 16 + 19 + 5

func compress(data []byte) []byte { return s2.Encode(nil, data) }

// framed is data as an S2 stream.
func framed(t testing.TB, data []byte) []byte {
	var out bytes.Buffer
	w := s2.NewWriter(&out, s2.WriterConcurrency(1))
	if _, err := w.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// content is a whole archive.
type content struct {
	state     *api.StreamState
	consumers []*Consumer
	messages  []msg.Message
}

func readAll(data []byte) (content, error) { return readFrom(NewReader(bytes.NewReader(data))) }

func readFrom(r *Reader) (c content, err error) {
	if c.state, err = r.State(); err != nil {
		return c, err
	}
	for {
		one, err := r.Consumer()
		if err != nil {
			return c, err
		}
		if one == nil {
			break
		}
		c.consumers = append(c.consumers, one)
	}
	for {
		var m msg.Message
		ok, err := r.Message(&m)
		if err != nil || !ok {
			return c, err
		}
		m.Header, m.Data = bytes.Clone(m.Header), bytes.Clone(m.Data)
		c.messages = append(c.messages, m)
	}
}

func TestReadsObservedArchive(t *testing.T) {
	c, err := readAll(framed(t, observed(t)))
	if err != nil {
		t.Fatal(err)
	}
	if c.state.Msgs != 4 || c.state.LastSeq != 5 || len(c.consumers) != 1 {
		t.Fatalf("state %+v, %d consumers", c.state, len(c.consumers))
	}
	d := c.consumers[0]
	want := ConsumerState{
		Delivered:   Position{5, 3},
		Pending:     map[uint64]Pending{1: {1, 1795447015605142801}, 2: {2, 1795447015623756872}},
		Redelivered: map[uint64]uint64{1: 1, 2: 1},
	}
	if d.Config.Durable != "C" || d.Config.AckWait != 30*time.Second || d.Config.PauseUntil != nil || !reflect.DeepEqual(d.State, want) {
		t.Fatalf("consumer %+v", d)
	}
	messages := []msg.Message{
		{Seq: 1, Time: 1795447015605142801, Subject: "s.a", Data: []byte("hello")},
		{Seq: 2, Time: 1795447015623756872, Subject: "s.b", Header: []byte("NATS/1.0\r\nK: v\r\n\r\n"), Data: []byte("world")},
		{Seq: 3, Time: 1795447015643141448, Subject: "s.c", Data: []byte{}},
		{Seq: 5, Time: 1795447015685189389, Subject: "s.e", Data: []byte("bye")},
	}
	for i := range messages {
		if len(c.messages[i].Data) == 0 {
			c.messages[i].Data = []byte{}
		}
	}
	if !reflect.DeepEqual(c.messages, messages) {
		t.Fatalf("messages %+v", c.messages)
	}
}

// write makes an archive of c.
func write(t testing.TB, c content) []byte {
	var out bytes.Buffer
	w := NewWriter(&out, 1795447019000000000)
	if err := w.State(c.state); err != nil {
		t.Fatal(err)
	}
	for _, one := range c.consumers {
		if err := w.Consumer(one); err != nil {
			t.Fatal(err)
		}
	}
	for i := range c.messages {
		if err := w.Message(&c.messages[i]); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func TestWritesWhatItReads(t *testing.T) {
	c, err := readAll(framed(t, observed(t)))
	if err != nil {
		t.Fatal(err)
	}
	c.messages = append(c.messages, msg.Message{Seq: 9, Subject: "big", Data: bytes.Repeat([]byte("0123456789"), 300_000)})
	again, err := readAll(write(t, c))
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(again, c) {
		t.Fatalf("read %+v", again)
	}
}

// TestMessagesAreWrittenAsObserved compares bytes: the messages and the end, which do not depend on how a server orders the
// fields of a document.
func TestMessagesAreWrittenAsObserved(t *testing.T) {
	raw := observed(t)
	c, err := readAll(framed(t, raw))
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	r := s2.NewReader(bytes.NewReader(write(t, c)))
	if _, err := out.ReadFrom(r); err != nil {
		t.Fatal(err)
	}
	tail := raw[len(raw)-tailSize:]
	if !bytes.HasSuffix(out.Bytes(), tail) {
		t.Fatalf("archive ends in %x, observed %x", out.Bytes()[out.Len()-len(tail):], tail)
	}
}

func TestRefusesWhatIsNoArchive(t *testing.T) {
	whole := observed(t)
	tar := make([]byte, 1024)
	copy(tar, "meta.inf")
	copy(tar[257:], "ustar")
	swapped := bytes.Replace(whole, []byte{0x31, 5, 0, 3}, []byte{0x31, 2, 0, 3}, 1)
	endless := append(bytes.Clone(whole[:8]), 0xff, 0xff, 0xff, 0xff, 0x7f, 0, 0, 0, 0)
	for _, tc := range []struct {
		name, want string
		data       []byte
	}{
		{"nothing", "cut short", nil},
		{"not compressed", "corrupt", whole},
		{"a block without a frame", "corrupt", compress(whole)},
		{"no archive", "known format", framed(t, []byte("something else"))},
		{"no end", "cut short", framed(t, whole[:len(whole)-5])},
		{"out of order", "message 2 behind 3", framed(t, swapped)},
		{"name without end", "name of", framed(t, endless)},
		{"message first", "begins with", framed(t, append(bytes.Clone(whole[:8]), whole[len(whole)-tailSize:]...))},
	} {
		_, err := readAll(tc.data)
		if err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: error %v", tc.name, err)
		}
	}
	if _, err := readAll(framed(t, tar)); !errors.Is(err, ErrTar) {
		t.Errorf("a tar: error %v", err)
	}
}

// TestEveryCutIsTold reads every beginning of an archive.
func TestEveryCutIsTold(t *testing.T) {
	whole := observed(t)
	for n := range whole {
		if _, err := readFrom(newReader(bytes.NewReader(whole[:n]))); err == nil {
			t.Fatalf("%d of %d bytes were taken for an archive", n, len(whole))
		}
	}
}

// FuzzReader gives the reader what a client may send. What it accepts is written as what it was read from.
func FuzzReader(f *testing.F) {
	whole := observed(f)
	f.Add(whole)
	f.Add(whole[:len(whole)-5])
	f.Add([]byte("NATSARC1"))
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := readFrom(newReader(bytes.NewReader(data)))
		if err != nil {
			return
		}
		again, err := readAll(write(t, c))
		if err != nil || len(again.messages) != len(c.messages) || len(again.consumers) != len(c.consumers) {
			t.Fatalf("read %d messages and %d consumers: %v", len(again.messages), len(again.consumers), err)
		}
	})
}
