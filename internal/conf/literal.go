package conf

import (
	"regexp"
	"strconv"
	"strings"
)

// quoted parses a string in double quotes. It may span lines.
func (p *parser) quoted() (string, error) {
	open := p.pos()
	p.next()
	var sb strings.Builder
	for !p.done() {
		switch c := p.next(); c {
		case '"':
			return sb.String(), nil
		case '\\':
			if err := p.escape(&sb); err != nil {
				return "", err
			}
		default:
			sb.WriteByte(c)
		}
	}
	return "", syntaxError(open, "the string is not closed")
}

func (p *parser) escape(sb *strings.Builder) error {
	pos := p.pos()
	if p.done() {
		return nil // reported as a string that is not closed
	}
	switch c := p.next(); c {
	case 't':
		sb.WriteByte('\t')
	case 'n':
		sb.WriteByte('\n')
	case 'r':
		sb.WriteByte('\r')
	case '"', '\\':
		sb.WriteByte(c)
	case '/':
		sb.WriteByte(c) // JSON
	case 'x':
		if p.off+2 > len(p.src) {
			return syntaxError(pos, `\x needs two hexadecimal digits`)
		}
		n, err := strconv.ParseUint(p.src[p.off:p.off+2], 16, 8)
		if err != nil {
			return syntaxError(pos, `\x needs two hexadecimal digits, found %q`, p.src[p.off:p.off+2])
		}
		p.next()
		p.next()
		sb.WriteByte(byte(n))
	default:
		return syntaxError(pos, `unknown escape \%c; known are \xHH \t \n \r \" \\`, c)
	}
	return nil
}

// raw parses a string in single quotes, without escapes.
func (p *parser) raw() (string, error) {
	open := p.pos()
	p.next()
	text := p.until(func(c byte) bool { return c == '\'' })
	if !p.accept('\'') {
		return "", syntaxError(open, "the string is not closed")
	}
	return text, nil
}

// lines parses the text between '(' and a line that is only ')'.
func (p *parser) lines() (string, error) {
	open := p.pos()
	p.next()
	start := p.off
	for {
		p.skipLine()
		if p.done() {
			return "", syntaxError(open, "the text is not closed by a line that is only ')'")
		}
		p.next()
		end := p.off
		if p.skipBlanks(); !p.accept(')') {
			continue
		}
		if p.skipBlanks(); p.done() || p.peek() == '\n' {
			return p.src[start:end], nil
		}
	}
}

var (
	intPattern   = regexp.MustCompile(`^(-?[0-9]+)([kKmMgGtTpPeE]?)([iI]?[bB]?)$`)
	floatPattern = regexp.MustCompile(`^-?[0-9]+\.[0-9]+([eE][-+]?[0-9]+)?$`)
)

// word parses a bare word and says what it means.
func (p *parser) word() (*value, error) {
	pos := p.pos()
	text := p.until(endsWord)
	if text == "" {
		return nil, syntaxError(pos, "expected a value, found %s", p.near())
	}
	if text[0] == '$' && !isBcrypt(text) {
		return p.variable(pos, text[1:])
	}
	return literal(pos, text)
}

// isBcrypt tells a bcrypt hash, which starts with a '$' too, from a variable.
func isBcrypt(text string) bool {
	return strings.HasPrefix(text, "$2a$") || strings.HasPrefix(text, "$2b$") || strings.HasPrefix(text, "$2y$")
}

func literal(pos Pos, text string) (*value, error) {
	v := &value{pos: pos, kind: kindString, text: text}
	switch {
	case intPattern.MatchString(text):
		n, ok, err := parseSize(text)
		if err != nil {
			return nil, syntaxError(pos, "integer %s is out of range", text)
		}
		if ok {
			v.kind, v.int = kindInt, n
		}
	case floatPattern.MatchString(text):
		n, err := strconv.ParseFloat(text, 64)
		if err != nil {
			return nil, syntaxError(pos, "float %s is out of range", text)
		}
		v.kind, v.float = kindFloat, n
	default:
		switch strings.ToLower(text) {
		case "true", "yes", "on":
			v.kind, v.bool = kindBool, true
		case "false", "no", "off":
			v.kind = kindBool
		}
	}
	return v, nil
}

// parseSize reads an integer with an optional size suffix: K, M, G, T, P and E
// are powers of 1000; followed by B, I or IB they are powers of 1024. ok says
// that text has that form.
func parseSize(text string) (n int64, ok bool, err error) {
	m := intPattern.FindStringSubmatch(text)
	if m == nil || m[2] == "" && m[3] != "" {
		return 0, false, nil
	}
	n, err = strconv.ParseInt(m[1], 10, 64)
	if err != nil || m[2] == "" {
		return n, err == nil, err
	}
	base := int64(1000)
	if m[3] != "" {
		base = 1024
	}
	for range 1 + strings.Index("kmgtpe", strings.ToLower(m[2])) {
		if product := n * base; product/base == n {
			n = product
		} else {
			return 0, false, strconv.ErrRange
		}
	}
	return n, true, nil
}

// variable looks name up in the open blocks, innermost first, and then in the
// environment, where its text is parsed like a value of a file.
func (p *parser) variable(pos Pos, name string) (*value, error) {
	for i := len(p.scopes) - 1; i >= 0; i-- {
		if f := p.scopes[i].find(name); f != nil {
			f.used = true
			v := *f.value
			v.pos = pos
			return &v, nil
		}
	}
	text, ok := p.source.lookupEnv(name)
	if !ok {
		return nil, syntaxError(pos, "variable $%s is neither set in the configuration before this line nor in the environment", name)
	}
	if err := p.enter(pos); err != nil {
		return nil, err
	}
	defer p.leave()
	outer := p.scanner
	p.scanner = newScanner("$"+name, text)
	defer func() { p.scanner = outer }()
	p.skipBlanks()
	v, err := p.value()
	if err != nil {
		return nil, syntaxError(pos, "the environment's %s: %v", name, err)
	}
	if p.skipVoid(""); !p.done() {
		return nil, syntaxError(pos, "the environment's %s has text after its value: %s", name, p.near())
	}
	v.pos = pos
	return v, nil
}
