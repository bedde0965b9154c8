package monitor

import (
	"fmt"
	"net/url"
	"strconv"
)

// query reads options and keeps the first error.
type query struct {
	values url.Values
	err    error
}

func (q *query) fail(format string, args ...any) {
	if q.err == nil {
		q.err = fmt.Errorf(format, args...)
	}
}

func (q *query) text(key string) string { return q.values.Get(key) }

func (q *query) flag(key string) bool {
	s := q.text(key)
	if s == "" {
		return false
	}
	b, err := strconv.ParseBool(s)
	if err != nil {
		q.fail("Error decoding boolean for '%s': %v", key, err)
	}
	return b
}

func (q *query) number(key string) int {
	s := q.text(key)
	if s == "" {
		return 0
	}
	n, err := strconv.Atoi(s)
	if err != nil {
		q.fail("Error decoding int for '%s': %v", key, err)
	}
	return n
}

func (q *query) id(key string) uint64 {
	s := q.text(key)
	if s == "" {
		return 0
	}
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil {
		q.fail("Error decoding uint64 for '%s': %v", key, err)
	}
	return n
}

// subs reads the option of three values: 0, 1 and detail.
func (q *query) subs() (list, detail bool) {
	if q.text("subs") == "detail" {
		return true, true
	}
	return q.flag("subs"), false
}

// defaultLimit is how many entries a page has when nothing is said.
const defaultLimit = 1024

// page cuts one page out of a list: a limit of 0 or less is the default, a
// negative offset 0.
func page[T any](list []T, offset, limit int) (part []T, from, size int) {
	if limit <= 0 {
		limit = defaultLimit
	}
	offset = max(offset, 0)
	start := min(offset, len(list))
	return list[start:min(start+min(limit, len(list)), len(list))], offset, limit
}

// complaint is an error in the words of the established server, which tools show
// as they are.
type complaint string

func (c complaint) Error() string { return string(c) }
