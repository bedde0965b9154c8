package backup

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"

	"github.com/klauspost/compress/s2"

	"weir/internal/api"
	"weir/internal/msg"
)

const (
	magic          = "NATSARC1"
	stateName      = "state.json"
	consumerPrefix = "consumers/"
)

// Consumer is a consumer's entry.
type Consumer struct {
	Config api.ConsumerConfig `json:"config"`
	State  ConsumerState      `json:"state"`
}

// ConsumerState is how far a consumer is. Pending and Redelivered go by stream sequence.
type ConsumerState struct {
	Delivered Position           `json:"delivered"`
	AckFloor  Position           `json:"ack_floor"`
	Pending   map[uint64]Pending `json:"pending,omitempty"`
	// Redelivered counts the deliveries of a message after its first.
	Redelivered map[uint64]uint64 `json:"redelivered,omitempty"`
}

// Position is a consumer sequence and the stream sequence that belongs to it.
type Position struct {
	Consumer uint64 `json:"consumer_seq"`
	Stream   uint64 `json:"stream_seq"`
}

// Pending is the delivery of a message that waits for its ack: its consumer sequence and its time, unix ns.
type Pending struct {
	Sequence  uint64
	Timestamp int64
}

// Writer writes an archive. The state comes first, then as many consumers as it says, then the messages. After an error it
// is of no more use.
type Writer struct {
	s2   *s2.Writer
	time int64
	buf  []byte
}

// NewWriter begins an archive made at now (unix ns). Close ends it.
func NewWriter(w io.Writer, now int64) *Writer {
	return &Writer{s2: s2.NewWriter(w, s2.WriterConcurrency(1)), time: now, buf: []byte(magic)}
}

// State writes the stream's state.
func (w *Writer) State(st *api.StreamState) error {
	return w.document(stateName, st)
}

// Consumer writes a consumer.
func (w *Writer) Consumer(c *Consumer) error {
	return w.document(consumerPrefix+c.Config.Name, c)
}

// Message writes a message.
func (w *Writer) Message(m *msg.Message) error {
	return w.entry(m.Subject, m.Time, m.Seq, m.Header, m.Data)
}

// Close writes the end and what is still buffered. It does not close the writer below.
func (w *Writer) Close() error {
	if err := w.entry("", 0, 0, nil, nil); err != nil {
		return err
	}
	return w.s2.Close()
}

func (w *Writer) document(name string, doc any) error {
	data, err := json.Marshal(doc)
	if err != nil {
		return fmt.Errorf("backup of %s: %w", name, err)
	}
	return w.entry(name, w.time, 0, nil, data)
}

func (w *Writer) entry(name string, time int64, seq uint64, header, data []byte) error {
	b := binary.AppendUvarint(w.buf, uint64(len(name)))
	b = binary.AppendVarint(b, time)
	for _, v := range [...]uint64{seq, uint64(len(header)), uint64(len(data))} {
		b = binary.AppendUvarint(b, v)
	}
	b = append(append(append(b, name...), header...), data...)
	_, err := w.s2.Write(b)
	w.buf = b[:0]
	return err
}
