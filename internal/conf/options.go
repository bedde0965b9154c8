package conf

import (
	_ "embed"
	"encoding/csv"
	"strings"
)

// optionsCSV lists every key of nats-server's configuration: block, key, and
// aliases separated by spaces.
//
//go:embed options.csv
var optionsCSV string

// canonicalNames maps block and key, or an alias of the key, to the key.
var canonicalNames = readOptions(optionsCSV)

func readOptions(text string) map[string]map[string]string {
	rows, err := csv.NewReader(strings.NewReader(text)).ReadAll()
	if err != nil {
		panic("bug: options.csv: " + err.Error())
	}
	names := map[string]map[string]string{}
	for _, row := range rows[1:] {
		block, key := row[0], row[1]
		if names[block] == nil {
			names[block] = map[string]string{}
		}
		for _, name := range append(strings.Fields(row[2]), key) {
			names[block][name] = key
		}
	}
	return names
}
