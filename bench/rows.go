package main

import (
	"fmt"
	"strings"
)

// row is one line of the table.
type row struct {
	name    string // for -rows
	title   string
	clients int
	size    int  // bytes of a payload
	stream  bool // the work is on a stream
	run     func(*work) (figure, error)
}

func rows() []row {
	return []row{
		{"async-128", "async publish, 1 client, 128 B, window 500", 1, 128, true, (*work).publishAsync},
		{"async-1k", "async publish, 4 clients, 1 KiB, window 500", 4, 1024, true, (*work).publishAsync},
		{"sync-1", "sync publish, 1 client, 128 B", 1, 128, true, (*work).publishSync},
		{"sync-16", "sync publish, 16 clients, 128 B", 16, 128, true, (*work).publishSync},
		{"fetch", "fetch, explicit acks, 128 B, batch 500", 1, 128, true, (*work).fetch},
		{"core", "core publish and subscribe across nodes, 128 B", 2, 128, false, (*work).core},
	}
}

func rowNames() []string {
	var names []string
	for _, r := range rows() {
		names = append(names, r.name)
	}
	return names
}

// selectRows are the rows of a comma-separated list; all if it is empty.
func selectRows(list string) ([]row, error) {
	if list == "" {
		return rows(), nil
	}
	var selected []row
	for _, name := range strings.Split(list, ",") {
		found := false
		for _, r := range rows() {
			if r.name == name {
				selected, found = append(selected, r), true
			}
		}
		if !found {
			return nil, fmt.Errorf("no row %q; there are %s", name, strings.Join(rowNames(), ","))
		}
	}
	return selected, nil
}
