package wire

import (
	"encoding/json"
	"fmt"
	"strconv"
)

// Operations without arguments, as they are sent.
const (
	OK   = "+OK\r\n"
	Ping = "PING\r\n"
	Pong = "PONG\r\n"
)

// AppendMsg appends MSG, or HMSG if there is a header, to dst. reply and hdr may
// be empty.
func AppendMsg(dst, subject, sid, reply, hdr, payload []byte) []byte {
	dst = AppendMsgLine(dst, subject, sid, reply, len(hdr), len(payload))
	return appendBody(dst, hdr, payload)
}

// AppendMsgLine appends only the line of AppendMsg, for a writer that sends
// header, payload and the line end from where they are. Sizes are bytes.
func AppendMsgLine(dst, subject, sid, reply []byte, headerSize, payloadSize int) []byte {
	if headerSize > 0 {
		dst = append(dst, "HMSG "...)
	} else {
		dst = append(dst, "MSG "...)
	}
	dst = append(dst, subject...)
	dst = append(dst, ' ')
	dst = append(dst, sid...)
	return appendReplyAndSizes(dst, reply, headerSize, payloadSize)
}

// AppendPub appends PUB, or HPUB if there is a header, to dst.
func AppendPub(dst, subject, reply, hdr, payload []byte) []byte {
	if len(hdr) > 0 {
		dst = append(dst, "HPUB "...)
	} else {
		dst = append(dst, "PUB "...)
	}
	dst = append(dst, subject...)
	dst = appendReplyAndSizes(dst, reply, len(hdr), len(payload))
	return appendBody(dst, hdr, payload)
}

func appendReplyAndSizes(dst, reply []byte, headerSize, payloadSize int) []byte {
	dst = append(dst, ' ')
	if len(reply) > 0 {
		dst = append(dst, reply...)
		dst = append(dst, ' ')
	}
	if headerSize > 0 {
		dst = strconv.AppendInt(dst, int64(headerSize), 10)
		dst = append(dst, ' ')
	}
	dst = strconv.AppendInt(dst, int64(headerSize+payloadSize), 10)
	return append(dst, lineEnd...)
}

func appendBody(dst, hdr, payload []byte) []byte {
	dst = append(dst, hdr...)
	dst = append(dst, payload...)
	return append(dst, lineEnd...)
}

// AppendSub appends SUB to dst; queue may be empty.
func AppendSub(dst []byte, subject, queue, sid string) []byte {
	if queue != "" {
		return fmt.Appendf(dst, "SUB %s %s %s\r\n", subject, queue, sid)
	}
	return fmt.Appendf(dst, "SUB %s %s\r\n", subject, sid)
}

// AppendUnsub appends UNSUB to dst; max of 0 is none.
func AppendUnsub(dst []byte, sid string, max int) []byte {
	if max > 0 {
		return fmt.Appendf(dst, "UNSUB %s %d\r\n", sid, max)
	}
	return fmt.Appendf(dst, "UNSUB %s\r\n", sid)
}

// AppendErr appends -ERR to dst.
func AppendErr(dst []byte, text string) []byte {
	dst = append(dst, "-ERR '"...)
	dst = append(dst, text...)
	return append(dst, "'\r\n"...)
}

// AppendInfo appends INFO to dst.
func AppendInfo(dst []byte, info *Info) []byte { return appendDocument(dst, "INFO ", info) }

// AppendConnect appends CONNECT to dst.
func AppendConnect(dst []byte, options *ConnectOptions) []byte {
	return appendDocument(dst, "CONNECT ", options)
}

func appendDocument(dst []byte, verb string, document any) []byte {
	text, err := json.Marshal(document)
	if err != nil {
		panic("bug: a protocol document that can not be encoded: " + err.Error())
	}
	dst = append(dst, verb...)
	dst = append(dst, text...)
	// The space before the line end is what clients of the protocol's first
	// years were written against.
	return append(dst, " \r\n"...)
}
