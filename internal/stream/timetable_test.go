package stream

import (
	"strings"
	"testing"
)

// TestTimetableWithoutValues: who publishes such a message must not have every replica look for its time for seconds.
func TestTimetableWithoutValues(t *testing.T) {
	for i := range 6 {
		fields := []string{"*", "*", "*", "*", "*", "*"}
		fields[i] = ","
		if pattern := strings.Join(fields, " "); parses(pattern) {
			t.Errorf("%q is a timetable", pattern)
		}
	}
	if !parses("0,30 * * * * 1,,2") || !parses("@weekly") {
		t.Error("lists and names are no timetables")
	}
}

func parses(pattern string) bool {
	_, ok := parseTimetable(pattern)
	return ok
}
