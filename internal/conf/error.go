package conf

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Fault is one thing that is wrong with a configuration.
type Fault struct {
	Pos  Pos
	Text string
}

func (f Fault) String() string {
	if where := f.Pos.String(); where != "" {
		return where + ": " + f.Text
	}
	return f.Text
}

// Errors are all faults of one configuration, file by file in the order of the text.
type Errors []Fault

// Error gives one line for each fault: `file:line: text`.
func (e Errors) Error() string {
	lines := make([]string, len(e))
	for i, f := range e {
		lines[i] = f.String()
	}
	return strings.Join(lines, "\n")
}

func (e *Errors) addf(pos Pos, format string, args ...any) {
	*e = append(*e, Fault{pos, fmt.Sprintf(format, args...)})
}

// err is e as an error: nil without faults.
func (e Errors) err() error {
	if len(e) == 0 {
		return nil
	}
	fileOrder := map[string]int{}
	for _, f := range e {
		if _, ok := fileOrder[f.Pos.File]; !ok {
			fileOrder[f.Pos.File] = len(fileOrder)
		}
	}
	slices.SortStableFunc(e, func(a, b Fault) int {
		return cmp.Or(
			cmp.Compare(fileOrder[a.Pos.File], fileOrder[b.Pos.File]),
			cmp.Compare(a.Pos.Line, b.Pos.Line),
			cmp.Compare(a.Pos.Col, b.Pos.Col),
		)
	})
	return e
}
