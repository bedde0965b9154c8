package stream

import (
	"bytes"
	"errors"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"weir/internal/base"
)

// Headers that the stream understands; the names are exact.
const (
	headerMsgID              = "Nats-Msg-Id"
	headerExpectedStream     = "Nats-Expected-Stream"
	headerExpectedLastSeq    = "Nats-Expected-Last-Sequence"
	headerExpectedSubjectSeq = "Nats-Expected-Last-Subject-Sequence"
	headerExpectedSubject    = "Nats-Expected-Last-Subject-Sequence-Subject"
	headerExpectedMsgID      = "Nats-Expected-Last-Msg-Id"
	headerRollup             = "Nats-Rollup"
	headerTTL                = "Nats-TTL"
	headerMarkerReason       = "Nats-Marker-Reason"
	headerKeyOperation       = "KV-Operation"
	headerIncr               = "Nats-Incr"
	headerStreamSource       = "Nats-Stream-Source"
	headerBatchID            = "Nats-Batch-Id"
	headerCounterSources     = "Nats-Counter-Sources"

	expectedPrefix = "Nats-Expected-"
)

// PublisherHeaders are for the stream that a message is published to: what a publisher expects of it, and the places in batches.
// Streams that copy the message leave them out.
var PublisherHeaders = []string{headerExpectedStream, headerExpectedLastSeq, headerExpectedSubjectSeq, headerExpectedSubject,
	headerExpectedMsgID, headerBatchID, "Nats-Batch-Sequence", "Nats-Batch-Commit"}

const (
	rollupSubject = "sub"
	rollupAll     = "all"
	keyPurge      = "PURGE"
)

// neverExpires is the TTL of a message with "Nats-TTL: never".
const neverExpires = time.Duration(-1)

// directives are what a message's headers ask of the stream. The strings point into the header block; nil slices and empty
// strings mean that the header is absent, except where a has… field says so.
type directives struct {
	msgID              string
	expectedStream     string
	expectedMsgID      string
	expectedSubject    string
	rollup             string
	ttl                string
	incr               string
	streamSource       string
	expectedLastSeq    uint64
	expectedSubjectSeq uint64
	hasExpectedLastSeq bool
	hasExpectedSubjSeq bool
	badExpectedLastSeq bool // not a number
	badExpectedSubjSeq bool // not a number
	hasBatchHeaders    bool
	copied             bool // from an origin

	schedule scheduling
}

// parse reads a header block in one pass. Of a header that is given twice the first counts.
func (d *directives) parse(block []byte) {
	*d = directives{}
	_, rest, ok := bytes.Cut(block, crlf)
	for ok {
		var line []byte
		line, rest, ok = bytes.Cut(rest, crlf)
		if len(line) < 6 || line[0] != 'N' || string(line[:5]) != "Nats-" {
			continue
		}
		colon := bytes.IndexByte(line, ':')
		if colon < 0 {
			continue
		}
		value := bytes.TrimSpace(line[colon+1:])
		d.set(base.View(line[:colon]), base.View(value))
	}
}

var crlf = []byte("\r\n")

const emptyHeader = "NATS/1.0\r\n\r\n"

func (d *directives) set(name, value string) {
	switch name {
	case headerMsgID:
		setOnce(&d.msgID, value)
	case headerExpectedStream:
		setOnce(&d.expectedStream, value)
	case headerExpectedMsgID:
		setOnce(&d.expectedMsgID, value)
	case headerExpectedSubject:
		setOnce(&d.expectedSubject, value)
	case headerExpectedLastSeq:
		if !d.hasExpectedLastSeq && value != "" {
			d.hasExpectedLastSeq = true
			d.expectedLastSeq, d.badExpectedLastSeq = number(value)
		}
	case headerExpectedSubjectSeq:
		if !d.hasExpectedSubjSeq && value != "" {
			d.hasExpectedSubjSeq = true
			d.expectedSubjectSeq, d.badExpectedSubjSeq = number(value)
		}
	case headerRollup:
		setOnce(&d.rollup, strings.ToLower(value))
	case headerTTL:
		setOnce(&d.ttl, value)
	case headerIncr:
		setOnce(&d.incr, value)
	case headerStreamSource:
		setOnce(&d.streamSource, value)
	case headerBatchID:
		d.hasBatchHeaders = d.hasBatchHeaders || value != ""
	default:
		d.schedule.set(name, value)
	}
}

// expects tells whether there is any Nats-Expected-… header.
func (d *directives) expects() bool {
	return d.expectedStream != "" || d.expectedMsgID != "" || d.expectedSubject != "" || d.hasExpectedLastSeq || d.hasExpectedSubjSeq
}

func setOnce(field *string, value string) {
	if *field == "" {
		*field = value
	}
}

func number(value string) (n uint64, bad bool) {
	n, err := strconv.ParseUint(value, 10, 64)
	return n, err != nil
}

// parseTTL reads seconds, a Go duration, or "never". The least is a second; what is beyond the range of a duration is its end.
func parseTTL(value string) (ttl time.Duration, ok bool) {
	if strings.EqualFold(value, "never") {
		return neverExpires, true
	}
	if d, err := time.ParseDuration(value); err == nil {
		return d, d >= time.Second
	}
	seconds, err := strconv.ParseUint(value, 10, 64)
	if err != nil && !errors.Is(err, strconv.ErrRange) || seconds < 1 {
		return 0, false
	}
	return time.Duration(min(seconds, uint64(math.MaxInt64/time.Second))) * time.Second, true
}

func validTTL(value string) bool {
	_, ok := parseTTL(value)
	return ok
}

// headerValue is the first value of a header; nil without one.
func headerValue(block []byte, name string) []byte {
	_, rest, ok := bytes.Cut(block, []byte("\r\n"+name+":"))
	if !ok {
		return nil
	}
	value, _, _ := bytes.Cut(rest, crlf)
	return bytes.TrimSpace(value)
}

// appendHeader is a copy of a block with one more header at its end.
func appendHeader(block []byte, name, value string) []byte {
	return slices.Concat(block[:len(block)-len(crlf)], []byte(name+": "+value), crlf, crlf)
}

// setHeader is a copy of a block in which a header has one value.
func setHeader(block []byte, name, value string) []byte {
	if bytes.Contains(block, []byte("\r\n"+name+":")) {
		return withHeader(block, name, value)
	}
	return appendHeader(block, name, value)
}

// withHeader is a copy of a block in which a header that it has stands with another value.
func withHeader(block []byte, name, value string) []byte {
	line := bytes.Index(block, []byte("\r\n"+name+":"))
	base.Assert(line >= 0, "header %q is not in %q", name, block)
	line += len(crlf)
	end := line + bytes.Index(block[line:], crlf)
	return slices.Concat(block[:line], []byte(name+": "+value), block[end:])
}
