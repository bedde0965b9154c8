package conf

import (
	"strings"
	"time"
)

// decoder turns fields into a Config. It goes on after a fault, so that all are
// reported at once.
type decoder struct {
	faults   Errors
	warnings []Fault
	cfg      *Config
}

// schema says what to do with the keys of one kind of block. Keys are canonical:
// options.csv knows their aliases, and the keys that are not here but there are
// reported as not supported yet.
type schema[T any] struct {
	block string // as in options.csv
	keys  map[string]handler[T]
}

// handler puts the value of a field into t.
type handler[T any] func(d *decoder, f *field, t *T)

func (s schema[T]) decode(d *decoder, b *block, t *T) {
	for _, f := range b.fields {
		name, known := canonicalNames[s.block][strings.ToLower(f.key)]
		switch {
		case known && s.keys[name] != nil:
			d.cfg.keyPos[s.block+" "+name] = f.pos
			s.keys[name](d, f, t)
		case known:
			d.faults.addf(f.pos, "key %q is not supported yet", f.key)
		case !f.used:
			d.faults.addf(f.pos, "unknown key %q%s", f.key, s.where())
		}
	}
}

func (s schema[T]) where() string {
	if s.block == blockTop {
		return ""
	}
	return " in block " + s.block
}

func (d *decoder) fault(f *field, format string, args ...any) {
	d.faults.addf(f.value.pos, "key %q "+format, append([]any{f.key}, args...)...)
}

func (d *decoder) warn(f *field, format string, args ...any) {
	var one Errors
	one.addf(f.value.pos, "key %q "+format, append([]any{f.key}, args...)...)
	d.warnings = append(d.warnings, one...)
}

// is reports a fault unless f's value is of kind k.
func (d *decoder) is(f *field, k kind) bool {
	if f.value.kind != k {
		d.fault(f, "must be %s, not %s", k, describe(f.value))
		return false
	}
	return true
}

func describe(v *value) string {
	switch v.kind {
	case kindList, kindBlock:
		return v.kind.String()
	}
	return v.kind.String() + " (" + v.text + ")"
}

// put makes a handler that reads a value of type V and stores it where at says.
func put[T, V any](read func(*decoder, *field) (V, bool), at func(*T) *V) handler[T] {
	return func(d *decoder, f *field, t *T) {
		if v, ok := read(d, f); ok {
			*at(t) = v
		}
	}
}

// noEffect makes a handler for a key that is checked but changes nothing, which a
// warning says. The type that stands for its block says why.
func noEffect[T, V any](read func(*decoder, *field) (V, bool)) handler[T] {
	return func(d *decoder, f *field, _ *T) {
		if _, ok := read(d, f); ok {
			d.warn(f, "has no effect")
		}
	}
}

// onlyShown makes a handler for a key whose value is shown in monitoring, if at all, and
// changes nothing else. The warning says what holds instead.
func onlyShown[T any](put handler[T], instead string) handler[T] {
	return func(d *decoder, f *field, t *T) {
		faults := len(d.faults)
		if put(d, f, t); len(d.faults) == faults {
			d.warn(f, "has no effect: %s", instead)
		}
	}
}

// sub makes a handler for a block inside a block.
func sub[T, V any](s func() schema[V], at func(*T) *V) handler[T] {
	return func(d *decoder, f *field, t *T) {
		if d.is(f, kindBlock) {
			s().decode(d, f.value.fields, at(t))
		}
	}
}

func readString(d *decoder, f *field) (string, bool) {
	return f.value.text, d.is(f, kindString)
}

// readName reads a string without spaces.
func readName(d *decoder, f *field) (string, bool) {
	s, ok := readString(d, f)
	if ok && strings.ContainsAny(s, " \t\r\n") {
		d.fault(f, "must not contain spaces, as %q does", s)
		return "", false
	}
	return s, ok
}

func readBool(d *decoder, f *field) (bool, bool) { return f.value.bool, d.is(f, kindBool) }

func readInt(d *decoder, f *field) (int, bool) { return int(f.value.int), d.is(f, kindInt) }

// readCount reads an integer that is not negative.
func readCount(d *decoder, f *field) (int, bool) {
	n, ok := readInt(d, f)
	if ok && n < 0 {
		d.fault(f, "must not be negative, as %d is", n)
		return 0, false
	}
	return n, ok
}

// readLimit reads an integer of which -1 is none, which is 0 in the Config.
func readLimit(d *decoder, f *field) (int, bool) {
	n, ok := readInt(d, f)
	if ok && n < -1 {
		d.fault(f, "must be at least -1, which %d is not", n)
		return 0, false
	}
	return max(n, 0), ok
}

// readSize reads bytes: an integer, or a string such as "10GB".
func readSize(d *decoder, f *field) (int64, bool) {
	switch f.value.kind {
	case kindInt:
		return f.value.int, true
	case kindString:
		if n, ok, err := parseSize(f.value.text); ok && err == nil {
			return n, true
		}
	}
	d.fault(f, "must be a size such as 64MB, not %s", describe(f.value))
	return 0, false
}

// readByteCount reads bytes that have to be buffered, so at most 2 GiB.
func readByteCount(d *decoder, f *field) (int, bool) {
	n, ok := readSize(d, f)
	if ok && (n <= 0 || n > 1<<31-1) {
		d.fault(f, "must be from 1 to %d bytes, which %d is not", 1<<31-1, n)
		return 0, false
	}
	return int(n), ok
}

func readPort(d *decoder, f *field) (int, bool) {
	n, ok := readInt(d, f)
	if ok && (n < -1 || n > 65535) {
		d.fault(f, "must be a port from -1 to 65535, which %d is not", n)
		return 0, false
	}
	return n, ok
}

// readDuration reads a string such as "2m30s". A bare number is seconds, with a
// warning; one with a size suffix is refused, since `2m` without quotes is the
// number 2000000.
func readDuration(d *decoder, f *field) (time.Duration, bool) {
	v, ok := readSeconds(d, f)
	if ok && f.value.kind != kindString {
		d.warn(f, "should have a unit, as in \"%ss\"", f.value.text)
	}
	return v, ok
}

// readSeconds is readDuration for keys where a bare number is usual.
func readSeconds(d *decoder, f *field) (time.Duration, bool) {
	switch v := f.value; {
	case v.kind == kindString:
		t, err := time.ParseDuration(v.text)
		if err == nil {
			return t, true
		}
	case v.kind == kindInt && isDigits(v.text):
		if v.int <= int64(1<<63-1)/int64(time.Second) {
			return time.Duration(v.int) * time.Second, true
		}
	case v.kind == kindInt:
		d.fault(f, "is the number %d; put it in quotes, as in %q, to mean a duration", v.int, v.text)
		return 0, false
	case v.kind == kindFloat && v.float >= 0 && v.float < 1e9:
		return time.Duration(v.float * float64(time.Second)), true
	}
	d.fault(f, "must be a duration such as \"2m\", not %s", describe(f.value))
	return 0, false
}

func isDigits(s string) bool {
	return s != "" && strings.Trim(s, "0123456789") == ""
}

// readStrings reads a string or a list of strings.
func readStrings(d *decoder, f *field) ([]string, bool) {
	if f.value.kind == kindString {
		return []string{f.value.text}, true
	}
	if f.value.kind != kindList {
		d.fault(f, "must be a string or a list of strings, not %s", describe(f.value))
		return nil, false
	}
	all := make([]string, 0, len(f.value.list))
	ok := true
	for _, v := range f.value.list {
		if v.kind != kindString {
			d.faults.addf(v.pos, "key %q must be a list of strings, not of %s", f.key, describe(v))
			ok = false
			continue
		}
		all = append(all, v.text)
	}
	return all, ok
}

// readBlocks reads a list of blocks, each through one call of decode.
func readBlocks(d *decoder, f *field, decode func(*value)) {
	if !d.is(f, kindList) {
		return
	}
	for _, v := range f.value.list {
		if v.kind != kindBlock {
			d.faults.addf(v.pos, "key %q must be a list of blocks, not of %s", f.key, describe(v))
			continue
		}
		decode(v)
	}
}
