package conf

import (
	"strconv"
	"strings"

	"weir/internal/subject"
)

// Mapping has what clients publish to a subject go to others.
type Mapping struct {
	Subject      string // perhaps with wildcards
	Destinations []Destination
}

// Destination is a subject, or a transform as of streams, that gets a share of the
// messages.
type Destination struct {
	Subject string
	Weight  int // in percent
	// Cluster is that of the servers that use the destination; empty: all of those
	// that have none of their own.
	Cluster string
}

// DestinationsIn are the destinations that servers of a cluster use.
func (m *Mapping) DestinationsIn(cluster string) (list []Destination) {
	for _, want := range [...]string{cluster, ""} {
		for _, dest := range m.Destinations {
			if dest.Cluster == want {
				list = append(list, dest)
			}
		}
		if len(list) > 0 {
			break
		}
	}
	return list
}

func readMappings(d *decoder, f *field) ([]Mapping, bool) {
	if !d.is(f, kindBlock) {
		return nil, false
	}
	var list []Mapping
	for _, mf := range f.value.fields.fields {
		m := Mapping{Subject: mf.key}
		if !subject.Valid(mf.key) {
			d.faults.addf(mf.pos, "mapping of the invalid subject %q", mf.key)
			continue
		}
		before := len(d.faults)
		d.readDestinations(mf, &m)
		if len(d.faults) == before {
			d.checkDestinations(mf, &m)
		}
		list = append(list, m)
	}
	return list, true
}

func (d *decoder) readDestinations(f *field, m *Mapping) {
	read := func(v *value) {
		dest := Destination{Weight: -1}
		before := len(d.faults)
		if destinationSchema().decode(d, v.fields, &dest); len(d.faults) > before {
			return
		}
		if dest.Subject == "" || dest.Weight < 0 {
			d.faults.addf(v.pos, "a destination of mapping %q needs destination and weight", m.Subject)
			return
		}
		m.Destinations = append(m.Destinations, dest)
	}
	switch f.value.kind {
	case kindString:
		m.Destinations = []Destination{{Subject: f.value.text, Weight: 100}}
	case kindBlock:
		read(f.value)
	default:
		readBlocks(d, f, read)
	}
}

func destinationSchema() schema[Destination] {
	return schema[Destination]{blockMappings, map[string]handler[Destination]{
		"destination": put(readString, func(dest *Destination) *string { return &dest.Subject }),
		"weight":      put(readPercent, func(dest *Destination) *int { return &dest.Weight }),
		"cluster":     put(readName, func(dest *Destination) *string { return &dest.Cluster }),
	}}
}

// readPercent reads 25, "25" or 25%.
func readPercent(d *decoder, f *field) (int, bool) {
	if f.value.kind == kindString || f.value.kind == kindInt {
		if n, err := strconv.Atoi(strings.TrimSuffix(f.value.text, "%")); err == nil && n >= 0 && n <= 100 {
			return n, true
		}
	}
	d.fault(f, "must be a share from 0 to 100%%, not %s", describe(f.value))
	return 0, false
}

// checkDestinations compiles the destinations and adds up their weights.
func (d *decoder) checkDestinations(f *field, m *Mapping) {
	weights, seen := map[string]int{}, map[Destination]bool{}
	for _, dest := range m.Destinations {
		if _, err := subject.NewRandomTransform(m.Subject, dest.Subject, func(int) int { return 0 }); err != nil {
			d.faults.addf(f.pos, "mapping of %q to %q: %v", m.Subject, dest.Subject, err)
		}
		if weights[dest.Cluster] += dest.Weight; weights[dest.Cluster] > 100 {
			d.faults.addf(f.pos, "mapping of %q: the weights are more than 100%%", m.Subject)
		}
		same := Destination{Subject: dest.Subject, Cluster: dest.Cluster}
		if seen[same] {
			d.faults.addf(f.pos, "mapping of %q has the destination %q twice", m.Subject, dest.Subject)
		}
		seen[same] = true
	}
}
