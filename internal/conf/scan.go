package conf

import (
	"strings"
	"unicode/utf8"
)

// scanner walks over a text and knows where it is.
type scanner struct {
	file      string
	src       string
	off       int
	line      int
	lineStart int
}

func newScanner(file, src string) *scanner {
	return &scanner{file: file, src: strings.TrimPrefix(src, "\ufeff"), line: 1}
}

const eof = byte(0)

func (s *scanner) pos() Pos { return Pos{s.file, s.line, s.off - s.lineStart + 1} }

func (s *scanner) done() bool { return s.off >= len(s.src) }

// peek is the next byte, or eof at the end. A NUL byte in the text reads as eof
// too; callers that care ask done.
func (s *scanner) peek() byte {
	if s.done() {
		return eof
	}
	return s.src[s.off]
}

func (s *scanner) next() byte {
	c := s.src[s.off]
	s.off++
	if c == '\n' {
		s.line++
		s.lineStart = s.off
	}
	return c
}

func (s *scanner) accept(c byte) bool {
	if s.done() || s.src[s.off] != c {
		return false
	}
	s.next()
	return true
}

func (s *scanner) atComment() bool {
	return s.peek() == '#' || strings.HasPrefix(s.src[s.off:], "//")
}

// skipBlanks passes spaces within a line.
func (s *scanner) skipBlanks() {
	for c := s.peek(); c == ' ' || c == '\t' || c == '\r'; c = s.peek() {
		s.next()
	}
}

// skipVoid passes spaces, line ends and comments, and the bytes of also.
func (s *scanner) skipVoid(also string) {
	for !s.done() {
		c := s.peek()
		switch {
		case c == ' ' || c == '\t' || c == '\r' || c == '\n':
			s.next()
		case s.atComment():
			s.skipLine()
		case strings.IndexByte(also, c) >= 0:
			s.next()
		default:
			return
		}
	}
}

// skipLine passes everything up to the end of the line.
func (s *scanner) skipLine() {
	for !s.done() && s.peek() != '\n' {
		s.next()
	}
}

// until takes bytes up to the first that stop accepts.
func (s *scanner) until(stop func(byte) bool) string {
	start := s.off
	for !s.done() && !stop(s.src[s.off]) {
		s.next()
	}
	return s.src[start:s.off]
}

// near describes what stands next, for messages.
func (s *scanner) near() string {
	switch {
	case s.done():
		return "the end of the file"
	case s.peek() == '\n':
		return "the end of the line"
	}
	r, _ := utf8.DecodeRuneInString(s.src[s.off:])
	return "'" + string(r) + "'"
}

func endsKey(c byte) bool { return strings.IndexByte(" \t\r\n:={}[],;", c) >= 0 }

func endsWord(c byte) bool { return strings.IndexByte(" \t\r\n,;]}", c) >= 0 }
