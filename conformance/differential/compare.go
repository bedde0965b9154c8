package differential

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// difference is a place where two documents differ.
type difference struct {
	path       string
	weir, nats string // "(none)" where there is nothing
}

func (d difference) String() string {
	return fmt.Sprintf("%s\n      weir %s\n      nats %s", d.path, d.weir, d.nats)
}

// compare finds where two documents differ.
func compare(path string, weir, nats any) []difference {
	switch w := weir.(type) {
	case map[string]any:
		if n, ok := nats.(map[string]any); ok {
			return compareMaps(path, w, n)
		}
	case []any:
		if n, ok := nats.([]any); ok {
			return compareLists(path, w, n)
		}
	}
	if w, n := fmt.Sprint(weir), fmt.Sprint(nats); w != n {
		return []difference{{path, w, n}}
	}
	return nil
}

const none = "(none)"

func compareMaps(path string, weir, nats map[string]any) (all []difference) {
	keys := maps.Clone(weir)
	maps.Copy(keys, nats)
	for _, k := range slices.Sorted(maps.Keys(keys)) {
		w, inWeir := weir[k]
		n, inNats := nats[k]
		at := strings.TrimPrefix(path+"."+k, ".")
		switch {
		case !inWeir:
			all = append(all, difference{at, none, fmt.Sprint(n)})
		case !inNats:
			all = append(all, difference{at, fmt.Sprint(w), none})
		default:
			all = append(all, compare(at, w, n)...)
		}
	}
	return all
}

func compareLists(path string, weir, nats []any) (all []difference) {
	for i := range max(len(weir), len(nats)) {
		at := fmt.Sprintf("%s[%d]", path, i)
		switch {
		case i >= len(weir):
			all = append(all, difference{at, none, fmt.Sprint(nats[i])})
		case i >= len(nats):
			all = append(all, difference{at, fmt.Sprint(weir[i]), none})
		default:
			all = append(all, compare(at, weir[i], nats[i])...)
		}
	}
	return all
}
