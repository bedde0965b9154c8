package conf

import (
	"crypto/sha256"
	"fmt"
	"sort"
	"strconv"
	"strings"
)

// Pos is a place in a configuration file. Line and Col count from 1; a zero Pos
// stands for what did not come from a file, such as a flag.
type Pos struct {
	File      string
	Line, Col int
}

func (p Pos) String() string {
	if p.Line == 0 {
		return p.File
	}
	return p.File + ":" + strconv.Itoa(p.Line)
}

type kind uint8

const (
	kindString kind = iota
	kindInt
	kindFloat
	kindBool
	kindList
	kindBlock
)

func (k kind) String() string {
	return [...]string{"a string", "an integer", "a float", "a boolean", "a list", "a block"}[k]
}

// value is one node of the parsed text.
type value struct {
	pos  Pos
	kind kind
	// text is the string for kindString, and the source text for numbers and
	// booleans.
	text   string
	int    int64
	float  float64
	bool   bool
	list   []*value
	fields *block
}

// field is one `key value` of a block.
type field struct {
	key   string
	pos   Pos
	value *value
	// used says that a variable referred to this field. Such a field may have any
	// name.
	used bool
}

// block holds the fields of a `{ … }` or of a whole file. A key that is given
// again replaces the earlier one.
type block struct {
	fields []*field
}

func (b *block) find(key string) *field {
	for _, f := range b.fields {
		if f.key == key {
			return f
		}
	}
	return nil
}

func (b *block) put(f *field) {
	for i, old := range b.fields {
		if old.key == f.key {
			b.fields = append(append(b.fields[:i:i], b.fields[i+1:]...), f)
			return
		}
	}
	b.fields = append(b.fields, f)
}

// digest identifies what a text means: comments, order of keys and the way a
// value is spelled do not change it.
func (b *block) digest() string {
	var sb strings.Builder
	b.canonical(&sb)
	return fmt.Sprintf("sha256:%x", sha256.Sum256([]byte(sb.String())))
}

func (b *block) canonical(sb *strings.Builder) {
	sorted := append([]*field(nil), b.fields...)
	sort.Slice(sorted, func(i, j int) bool { return sorted[i].key < sorted[j].key })
	sb.WriteByte('{')
	for _, f := range sorted {
		sb.WriteString(strconv.Quote(f.key))
		sb.WriteByte(':')
		f.value.canonical(sb)
		sb.WriteByte(',')
	}
	sb.WriteByte('}')
}

func (v *value) canonical(sb *strings.Builder) {
	switch v.kind {
	case kindString:
		sb.WriteString(strconv.Quote(v.text))
	case kindInt:
		sb.WriteString(strconv.FormatInt(v.int, 10))
	case kindFloat:
		sb.WriteString(strconv.FormatFloat(v.float, 'g', -1, 64))
	case kindBool:
		sb.WriteString(strconv.FormatBool(v.bool))
	case kindList:
		sb.WriteByte('[')
		for _, e := range v.list {
			e.canonical(sb)
			sb.WriteByte(',')
		}
		sb.WriteByte(']')
	case kindBlock:
		v.fields.canonical(sb)
	}
}
