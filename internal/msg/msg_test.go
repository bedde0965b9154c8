package msg

import "testing"

// TestSize has what the established server counts for messages: the sizes are a part of its limits and of what it shows.
func TestSize(t *testing.T) {
	for _, c := range []struct {
		memory                bool
		subject, header, data int
		want                  int
	}{
		{false, 3, 0, 2, 35},
		{false, 3, 30, 2, 69},
		{false, 3, 30, 0, 67},
		{true, 3, 0, 2, 21},
		{true, 3, 30, 2, 51},
		{true, 1, 0, 0, 17},
	} {
		if got := Size(c.memory, c.subject, c.header, c.data); got != c.want {
			t.Errorf("memory %t, subject %d, header %d, data %d: %d, want %d", c.memory, c.subject, c.header, c.data, got, c.want)
		}
	}
}
