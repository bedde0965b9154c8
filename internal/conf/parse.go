package conf

import (
	"fmt"
	"path/filepath"
	"strings"
)

// parser turns text into blocks. It stops at the first fault of syntax, since
// what follows one cannot be told apart reliably.
//
// The language: a file is a list of fields, or one JSON object. A field is a key,
// an optional ':' or '=', and a value, and ends with a new line, ',' or ';'. A
// value is a block `{ … }`, a list `[ … ]`, a string in double quotes with
// escapes, one in single quotes without, lines of text between `(` and a line
// that is only `)`, or a bare word: an integer with or without a size suffix, a
// float, a boolean, a variable `$NAME`, or else a string. Comments start with
// '#' or '//' where a key or a value could start. `include FILE` in place of a
// field puts the fields of that file there.
type parser struct {
	*scanner
	source source
	// scopes are the open blocks, innermost last; variables are looked up there.
	scopes []*block
	// depth counts open blocks, lists, included files and variables.
	depth int
}

// source is where files and variables come from.
type source struct {
	readFile  func(path string) ([]byte, error)
	lookupEnv func(name string) (string, bool)
}

// maxDepth bounds nesting, so that files that include each other end.
const maxDepth = 64

// parseText parses a whole file.
func parseText(src source, name, text string) (*block, error) {
	root := &block{}
	p := &parser{scanner: newScanner(name, text), source: src, scopes: []*block{root}}
	return root, p.wholeFile()
}

// syntaxError makes the error of a fault of syntax.
func syntaxError(pos Pos, format string, args ...any) error {
	return Errors{{pos, fmt.Sprintf(format, args...)}}
}

func (p *parser) enter(pos Pos) error {
	if p.depth++; p.depth > maxDepth {
		return syntaxError(pos, "nested deeper than %d levels", maxDepth)
	}
	return nil
}

func (p *parser) leave() { p.depth-- }

// wholeFile parses all of the scanner's text into the innermost scope.
func (p *parser) wholeFile() error {
	p.skipVoid("")
	for p.peek() == '{' {
		open := p.pos()
		p.next()
		if err := p.fields(open, true); err != nil {
			return err
		}
		p.skipVoid(",;")
	}
	return p.fields(Pos{}, false)
}

// fields parses fields into the innermost scope, up to the end of the file or,
// if braced, to the closing brace of the block that was opened at open.
func (p *parser) fields(open Pos, braced bool) error {
	for {
		p.skipVoid(",;")
		switch {
		case p.done() && braced:
			return syntaxError(p.pos(), "the block opened on line %d is not closed", open.Line)
		case p.done():
			return nil
		case p.peek() == '}' && braced:
			p.next()
			return nil
		case p.peek() == '}':
			return syntaxError(p.pos(), "'}' without a block to close")
		}
		if err := p.field(); err != nil {
			return err
		}
	}
}

func (p *parser) field() error {
	pos := p.pos()
	quoted := p.peek() == '"' || p.peek() == '\''
	key, err := p.key()
	if err != nil {
		return err
	}
	p.skipBlanks()
	separated := p.peek() == ':' || p.peek() == '='
	if separated {
		p.next()
		p.skipBlanks()
	}
	if strings.EqualFold(key, "include") && !quoted && !separated {
		return p.include(pos)
	}
	if !separated {
		p.skipToBrace()
	}
	if p.done() || p.peek() == '\n' || p.atComment() {
		return syntaxError(pos, "key %q has no value", key)
	}
	v, err := p.value()
	if err != nil {
		return err
	}
	p.scopes[len(p.scopes)-1].put(&field{key: key, pos: pos, value: v})
	return p.fieldEnd(key)
}

func (p *parser) key() (string, error) {
	pos := p.pos()
	switch p.peek() {
	case '"':
		return p.quoted()
	case '\'':
		return p.raw()
	}
	key := p.until(endsKey)
	if key == "" {
		return "", syntaxError(pos, "expected a key, found %s", p.near())
	}
	return key, nil
}

// skipToBrace passes line ends if a block starts after them.
func (p *parser) skipToBrace() {
	mark := *p.scanner
	if p.skipVoid(""); p.peek() != '{' {
		*p.scanner = mark
	}
}

func (p *parser) fieldEnd(key string) error {
	p.skipBlanks()
	switch c := p.peek(); {
	case p.done(), c == '\n', c == ',', c == ';', c == '}', p.atComment():
		return nil
	}
	return syntaxError(p.pos(), "expected the end of the line, ',' or ';' after the value of %q, found %s", key, p.near())
}

// include parses another file into the innermost scope. Its path is relative to
// the file that includes it.
func (p *parser) include(pos Pos) error {
	p.skipBlanks()
	var name string
	var err error
	switch p.peek() {
	case '"':
		name, err = p.quoted()
	case '\'':
		name, err = p.raw()
	default:
		name = p.until(endsWord)
	}
	if err != nil {
		return err
	}
	if name == "" {
		return syntaxError(pos, "include without a file name")
	}
	if err := p.fieldEnd("include"); err != nil {
		return err
	}
	path := name
	if !filepath.IsAbs(path) {
		path = filepath.Join(filepath.Dir(p.scanner.file), path)
	}
	if err := p.enter(pos); err != nil {
		return err
	}
	defer p.leave()
	text, err := p.source.readFile(path)
	if err != nil {
		return syntaxError(pos, "include %q: %v", name, err)
	}
	outer := p.scanner
	p.scanner = newScanner(path, string(text))
	defer func() { p.scanner = outer }()
	return p.wholeFile()
}

func (p *parser) value() (*value, error) {
	pos := p.pos()
	if err := p.enter(pos); err != nil {
		return nil, err
	}
	defer p.leave()
	var text string
	var err error
	switch p.peek() {
	case '{':
		return p.block()
	case '[':
		return p.list()
	case '"':
		text, err = p.quoted()
	case '\'':
		text, err = p.raw()
	case '(':
		text, err = p.lines()
	default:
		return p.word()
	}
	return &value{pos: pos, kind: kindString, text: text}, err
}

func (p *parser) block() (*value, error) {
	v := &value{pos: p.pos(), kind: kindBlock, fields: &block{}}
	p.next()
	p.scopes = append(p.scopes, v.fields)
	defer func() { p.scopes = p.scopes[:len(p.scopes)-1] }()
	return v, p.fields(v.pos, true)
}

func (p *parser) list() (*value, error) {
	v := &value{pos: p.pos(), kind: kindList}
	p.next()
	for {
		p.skipVoid(",")
		if p.done() {
			return nil, syntaxError(p.pos(), "the list opened on line %d is not closed", v.pos.Line)
		}
		if p.accept(']') {
			return v, nil
		}
		e, err := p.value()
		if err != nil {
			return nil, err
		}
		v.list = append(v.list, e)
		p.skipBlanks()
		switch c := p.peek(); {
		case p.done(), c == '\n', c == ',', c == ']', p.atComment():
		default:
			return nil, syntaxError(p.pos(), "expected ',' or ']' in a list, found %s", p.near())
		}
	}
}
