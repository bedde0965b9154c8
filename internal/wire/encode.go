package wire

import "strconv"

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
	dst = append(dst, hdr...)
	dst = append(dst, payload...)
	return append(dst, lineEnd...)
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

// AppendErr appends -ERR to dst.
func AppendErr(dst []byte, text string) []byte {
	dst = append(dst, "-ERR '"...)
	dst = append(dst, text...)
	return append(dst, "'\r\n"...)
}
