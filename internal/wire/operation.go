package wire

import (
	"bytes"
	"strconv"
)

// operations are the names of what a client may send, upper case.
var operations = [...]string{
	"PUB", "HPUB", "SUB", "UNSUB", "PING", "PONG", "CONNECT", "INFO", "+OK", "-ERR",
}

// beginsOperation tells whether an operation can begin with line.
func beginsOperation(line []byte) bool {
	verb, _ := cutVerb(line)
	for _, known := range operations {
		if len(verb) <= len(known) && equalFold(verb, known[:len(verb)]) {
			return true
		}
	}
	return false
}

// operation handles one line, which has no line end.
func (p *Parser) operation(line []byte, h Handler) error {
	verb, rest := cutVerb(line)
	if len(rest) > p.limits.MaxControlLine && beginsOperation(line) {
		return fault(FaultMaxControlLine, line)
	}
	if equalFold(verb, "PING") {
		return h.Ping()
	}
	if equalFold(verb, "PONG") {
		return h.Pong()
	}
	if len(verb) == len(line) && !equalFold(verb, "+OK") {
		return fault(FaultUnknownOperation, line)
	}
	switch {
	case equalFold(verb, "PUB"):
		return p.beginMessage(rest, line, false)
	case equalFold(verb, "HPUB"):
		return p.beginMessage(rest, line, true)
	case equalFold(verb, "SUB"):
		return subscribe(rest, line, h)
	case equalFold(verb, "UNSUB"):
		return unsubscribe(rest, line, h)
	case equalFold(verb, "CONNECT"):
		return h.Connect(bytes.TrimSpace(rest))
	case equalFold(verb, "INFO"):
		return h.Info(bytes.TrimSpace(rest))
	case equalFold(verb, "+OK"):
		return h.OK()
	case equalFold(verb, "-ERR"):
		return h.Err(bytes.Trim(bytes.TrimSpace(rest), "'"))
	}
	return fault(FaultUnknownOperation, line)
}

// beginMessage parses
//
//	PUB  <subject> [reply] <size>
//	HPUB <subject> [reply] <header> <size>
//
// where size counts the header, too.
func (p *Parser) beginMessage(rest, line []byte, withHeader bool) error {
	var buf [maxArguments + 1][]byte
	args := fields(rest, buf[:0])
	least := 2
	if withHeader {
		least++
	}
	if len(args) != least && len(args) != least+1 {
		return fault(FaultParser, line)
	}
	size := number(args[len(args)-1])
	header := 0
	if withHeader {
		header = number(args[len(args)-2])
	}
	if size < 0 || header < 0 || header > size {
		return fault(FaultParser, line)
	}
	if size > p.limits.MaxPayload {
		return fault(FaultMaxPayload, line)
	}
	p.want, p.headerLen = size+len(lineEnd), header
	p.msg = Msg{Subject: args[0]}
	if len(args) > least {
		p.msg.Reply = args[1]
	}
	return nil
}

// subscribe parses SUB <subject> [queue] <sid>.
func subscribe(rest, line []byte, h Handler) error {
	var buf [maxArguments + 1][]byte
	switch args := fields(rest, buf[:0]); len(args) {
	case 2:
		return h.Sub(args[0], nil, args[1])
	case 3:
		return h.Sub(args[0], args[1], args[2])
	}
	return fault(FaultParser, line)
}

// unsubscribe parses UNSUB <sid> [max].
func unsubscribe(rest, line []byte, h Handler) error {
	var buf [maxArguments + 1][]byte
	switch args := fields(rest, buf[:0]); len(args) {
	case 1:
		return h.Unsub(args[0], 0)
	case 2:
		// Anything but a positive number is no maximum.
		return h.Unsub(args[0], max(number(args[1]), 0))
	}
	return fault(FaultParser, line)
}

// cutVerb splits off the operation's name; rest begins behind the space.
func cutVerb(line []byte) (verb, rest []byte) {
	for i, c := range line {
		if isSpace(c) {
			return line[:i], line[i+1:]
		}
	}
	return line, nil
}

// fields appends the space-separated parts of s to dst until dst's capacity is
// used up.
func fields(s []byte, dst [][]byte) [][]byte {
	start := -1
	for i, c := range s {
		switch {
		case isSpace(c) && start >= 0:
			dst = append(dst, s[start:i:i])
			start = -1
			if len(dst) == cap(dst) {
				return dst
			}
		case !isSpace(c) && start < 0:
			start = i
		}
	}
	if start >= 0 {
		dst = append(dst, s[start:len(s):len(s)])
	}
	return dst
}

func trimReturn(line []byte) []byte {
	if n := len(line); n > 0 && line[n-1] == '\r' {
		return line[:n-1]
	}
	return line
}

func isSpace(c byte) bool { return c == ' ' || c == '\t' }

// number is the value of at most nine decimal digits, or -1.
func number(digits []byte) int {
	if len(digits) == 0 || len(digits) > 9 {
		return -1
	}
	n := 0
	for _, c := range digits {
		if c < '0' || c > '9' {
			return -1
		}
		n = n*10 + int(c-'0')
	}
	return n
}

// equalFold compares with an upper case ASCII name.
func equalFold(s []byte, upper string) bool {
	if len(s) != len(upper) {
		return false
	}
	for i, c := range s {
		if 'a' <= c && c <= 'z' {
			c -= 'a' - 'A'
		}
		if c != upper[i] {
			return false
		}
	}
	return true
}

func quote(s []byte) string { return strconv.Quote(string(s)) }
