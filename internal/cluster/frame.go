package cluster

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"

	"weir/internal/base"
	"weir/internal/router"
)

// A connection begins with the preamble of each side: four bytes of magic and
// the protocol's version. Frames follow:
//
//	length uint32 little-endian, of type and body
//	type   byte
//	body
//
// Strings within a body are preceded by their length as uvarint.
const (
	magic           = "WEIR"
	protocolVersion = 1
	preambleSize    = len(magic) + 1
	lengthSize      = 4
	frameOverhead   = lengthSize + 1
)

// frameType says what the body of a frame is.
type frameType byte

const (
	frameHello        frameType = 1  // JSON hello; the first frame of each side
	frameRefuse       frameType = 2  // JSON refusal; the last frame
	frameStart        frameType = 3  // the decider takes the connection
	framePing         frameType = 4  // uint64 that the pong repeats
	framePong         frameType = 5  // uint64
	frameInfo         frameType = 6  // JSON announcement
	frameInterest     frameType = 7  // account, subject, queue, count
	frameInterestDone frameType = 8  // all interest that stood has been sent
	frameMessage      frameType = 9  // account, subject, reply, queues, header, payload
	frameRequest      frameType = 10 // kind, payload
	frameRaft         frameType = 11 // payload
)

// Bounds of a frame's length in bytes.
const (
	maxHandshakeFrame = 1 << 20
	// maxFrame leaves room for the largest payload that can be configured, 64 MiB.
	maxFrame = 80 << 20
)

var errMalformed = errors.New("malformed frame")

// beginFrame appends a frame's head whose length endFrame fills in; at is where
// it stands.
func beginFrame(dst []byte, t frameType) (_ []byte, at int) {
	at = len(dst)
	return append(dst, 0, 0, 0, 0, byte(t)), at
}

func endFrame(dst []byte, at int) []byte {
	binary.LittleEndian.PutUint32(dst[at:], uint32(len(dst)-at-lengthSize))
	return dst
}

// appendFrame appends a frame with a ready body.
func appendFrame(dst []byte, t frameType, body []byte) []byte {
	dst, at := beginFrame(dst, t)
	return endFrame(append(dst, body...), at)
}

func appendPing(dst []byte, t frameType, stamp uint64) []byte {
	dst, at := beginFrame(dst, t)
	return endFrame(binary.LittleEndian.AppendUint64(dst, stamp), at)
}

func appendRequest(dst []byte, kind byte, payload []byte) []byte {
	dst, at := beginFrame(dst, frameRequest)
	return endFrame(append(append(dst, kind), payload...), at)
}

func appendInterest(dst []byte, account, subject, queue string, count int) []byte {
	dst, at := beginFrame(dst, frameInterest)
	dst = appendString(dst, account)
	dst = appendString(dst, subject)
	dst = appendString(dst, queue)
	return endFrame(binary.AppendUvarint(dst, uint64(count)), at)
}

func appendMessage(dst []byte, account string, m *router.Msg, queues []string) []byte {
	dst, at := beginFrame(dst, frameMessage)
	dst = appendString(dst, account)
	dst = appendString(dst, m.Subject)
	dst = appendString(dst, m.To)
	dst = appendString(dst, m.Reply)
	dst = binary.AppendUvarint(dst, uint64(len(queues)))
	for _, queue := range queues {
		dst = appendString(dst, queue)
	}
	dst = appendString(dst, m.Header)
	return endFrame(append(dst, m.Payload...), at)
}

// messageSize bounds the bytes that appendMessage adds.
func messageSize(account string, m *router.Msg, queues []string) int {
	n := frameOverhead + len(account) + len(m.Subject) + len(m.To) + len(m.Reply) + len(m.Header) + len(m.Payload)
	for _, queue := range queues {
		n += len(queue) + binary.MaxVarintLen32
	}
	return n + 5*binary.MaxVarintLen32
}

func appendString[S string | []byte](dst []byte, s S) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(s))), s...)
}

// nextFrame splits the first frame off buf. With ok false buf is only its
// beginning; size is then the length of the whole frame, or 0 if that is not
// known yet.
func nextFrame(buf []byte, limit int) (t frameType, body, rest []byte, size int, ok bool, err error) {
	if len(buf) < lengthSize {
		return 0, nil, buf, 0, false, nil
	}
	n := int(binary.LittleEndian.Uint32(buf))
	if n < 1 || n > limit {
		return 0, nil, nil, 0, false, fmt.Errorf("%w: %d bytes, where 1 to %d are allowed", errMalformed, n, limit)
	}
	size = lengthSize + n
	if len(buf) < size {
		return 0, nil, buf, size, false, nil
	}
	return frameType(buf[lengthSize]), buf[frameOverhead:size:size], buf[size:], size, true, nil
}

// interest is the body of frameInterest.
type interest struct {
	account, subject, queue string
	count                   int
}

func decodeInterest(body []byte) (interest, error) {
	f := base.Decoder{Rest: body}
	in := interest{account: string(f.Block()), subject: string(f.Block()), queue: string(f.Block())}
	count := f.Uvarint()
	if f.Bad || len(f.Rest) > 0 || count > math.MaxInt32 {
		return interest{}, fmt.Errorf("%w: interest", errMalformed)
	}
	in.count = int(count)
	return in, nil
}

// message is the body of frameMessage. Its slices are parts of the body; queues
// is reused between calls.
type message struct {
	account []byte
	queues  [][]byte
	msg     router.Msg
}

func (m *message) decode(body []byte) error {
	f := base.Decoder{Rest: body}
	m.account = f.Block()
	m.msg.Subject = f.Block()
	m.msg.To = f.Block()
	m.msg.Reply = f.Block()
	m.queues = m.queues[:0]
	// Each name takes a byte at least, so a false count ends with the body.
	for n := f.Uvarint(); n > 0 && !f.Bad; n-- {
		m.queues = append(m.queues, f.Block())
	}
	m.msg.Header = f.Block()
	if len(m.msg.Header) == 0 {
		m.msg.Header = nil
	}
	m.msg.Payload = f.Rest
	if f.Bad {
		return fmt.Errorf("%w: message", errMalformed)
	}
	return nil
}

func decodeStamp(body []byte) (uint64, error) {
	if len(body) != 8 {
		return 0, fmt.Errorf("%w: heartbeat", errMalformed)
	}
	return binary.LittleEndian.Uint64(body), nil
}
