package backup

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"

	"github.com/klauspost/compress/s2"

	"weir/internal/api"
	"weir/internal/msg"
	"weir/internal/subject"
)

// Bounds of what an archive may ask to be kept in memory at once.
const (
	maxName     = 1 << 16
	maxDocument = 256 << 20
	maxHeader   = math.MaxUint16
	maxData     = 64 << 20
)

// ErrTar is the error of an archive of a server before 2.15.
var ErrTar = errors.New("the backup was made by a server older than 2.15: restore it into one of 2.15 and back it up there")

// Reader reads an archive: State once, Consumer until it returns nil, Message until it returns false. Whatever is not as it
// should be is an error, and so is an archive that is cut short.
type Reader struct {
	in        *bufio.Reader
	consumers int // still to come
	last      uint64
	name      []byte
	body      bytes.Buffer
}

// NewReader reads an archive from r.
func NewReader(r io.Reader) *Reader {
	return newReader(s2.NewReader(r, s2.ReaderAllocBlock(64<<10)))
}

// newReader reads what was compressed.
func newReader(plain io.Reader) *Reader { return &Reader{in: bufio.NewReader(plain)} }

// head is what precedes an entry.
type head struct {
	name         string
	time         int64
	seq          uint64
	header, data uint64
}

// State reads the stream's state.
func (r *Reader) State() (*api.StreamState, error) {
	start, err := r.in.Peek(len(magic))
	if err != nil {
		return nil, cut(err)
	}
	if string(start) != magic {
		if block, err := r.in.Peek(tarBlock); err == nil && isTar(block) {
			return nil, ErrTar
		}
		return nil, errors.New("the backup is not of a known format")
	}
	if _, err := r.in.Discard(len(magic)); err != nil {
		return nil, err
	}
	h, err := r.head()
	if err != nil {
		return nil, err
	}
	if h.name != stateName {
		return nil, fmt.Errorf("the backup begins with %q", h.name)
	}
	st := new(api.StreamState)
	if err := r.document(h, st); err != nil {
		return nil, err
	}
	if st.Consumers < 0 || st.LastSeq == math.MaxUint64 {
		return nil, fmt.Errorf("the backup's state is impossible: %d consumers, last sequence %d", st.Consumers, st.LastSeq)
	}
	r.consumers = st.Consumers
	return st, nil
}

const tarBlock = 512

// isTar tells whether an archive begins as a tar does.
func isTar(block []byte) bool { return string(block[257:262]) == "ustar" }

// Consumer reads the next consumer; nil when there is none left.
func (r *Reader) Consumer() (*Consumer, error) {
	if r.consumers == 0 {
		return nil, nil
	}
	r.consumers--
	h, err := r.head()
	if err != nil {
		return nil, err
	}
	name, ok := strings.CutPrefix(h.name, consumerPrefix)
	if !ok || h.seq != 0 {
		return nil, fmt.Errorf("the backup has %q in place of a consumer", h.name)
	}
	c := new(Consumer)
	if err := r.document(h, c); err != nil {
		return nil, err
	}
	if c.Config.Name == "" {
		c.Config.Name = name
	}
	if c.Config.Name != name {
		return nil, fmt.Errorf("the backup has consumer %q under the name %q", c.Config.Name, name)
	}
	if t := c.Config.PauseUntil; t != nil && t.IsZero() {
		c.Config.PauseUntil = nil
	}
	return c, nil
}

// Message reads the next message into m; false at the end. Header and Data of m are valid until the next call.
func (r *Reader) Message(m *msg.Message) (bool, error) {
	h, err := r.head()
	if err != nil || h == (head{}) {
		return false, err
	}
	switch {
	case h.seq <= r.last || h.seq == math.MaxUint64:
		return false, fmt.Errorf("the backup has message %d behind %d", h.seq, r.last)
	case !subject.ValidLiteral(h.name):
		return false, fmt.Errorf("message %d of the backup has the subject %q", h.seq, h.name)
	case h.header > maxHeader || h.data > maxData:
		return false, fmt.Errorf("message %d of the backup has a header of %d bytes and data of %d", h.seq, h.header, h.data)
	}
	if err := r.read(h.header + h.data); err != nil {
		return false, err
	}
	r.last = h.seq
	*m = msg.Message{Seq: h.seq, Time: h.time, Subject: h.name}
	body := r.body.Bytes()
	if h.header > 0 {
		m.Header = body[:h.header:h.header]
	}
	m.Data = body[h.header:]
	return true, nil
}

func (r *Reader) head() (h head, err error) {
	length, err := binary.ReadUvarint(r.in)
	if err == nil {
		h.time, err = binary.ReadVarint(r.in)
	}
	for _, v := range [...]*uint64{&h.seq, &h.header, &h.data} {
		if err == nil {
			*v, err = binary.ReadUvarint(r.in)
		}
	}
	if err != nil {
		return h, cut(err)
	}
	if length > maxName {
		return h, fmt.Errorf("the backup has a name of %d bytes", length)
	}
	r.name = slices.Grow(r.name[:0], int(length))[:length]
	if _, err := io.ReadFull(r.in, r.name); err != nil {
		return h, cut(err)
	}
	h.name = string(r.name)
	return h, nil
}

func (r *Reader) document(h head, doc any) error {
	if h.header != 0 || h.data > maxDocument {
		return fmt.Errorf("%s of the backup has a header of %d bytes and data of %d", h.name, h.header, h.data)
	}
	if err := r.read(h.data); err != nil {
		return err
	}
	if err := json.Unmarshal(r.body.Bytes(), doc); err != nil {
		return fmt.Errorf("%s of the backup: %w", h.name, err)
	}
	return nil
}

// read fills body with n bytes.
func (r *Reader) read(n uint64) error {
	r.body.Reset()
	_, err := io.CopyN(&r.body, r.in, int64(n))
	return cut(err)
}

// cut says of an archive that ends early that it does.
func cut(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return errors.New("the backup is cut short")
	}
	return err
}
