package base

import (
	"math"
	"testing"
	"time"
)

func TestUnixNano(t *testing.T) {
	for _, c := range []struct {
		at   time.Time
		want int64
	}{
		{time.Time{}, math.MinInt64},
		{time.Date(1600, 1, 1, 0, 0, 0, 0, time.UTC), math.MinInt64},
		{time.Unix(0, math.MinInt64), math.MinInt64},
		{time.Unix(0, -1), -1},
		{time.Unix(0, 0), 0},
		{time.Date(2100, 1, 1, 0, 0, 0, 1, time.UTC), 4102444800_000000001},
		{time.Unix(0, math.MaxInt64), math.MaxInt64},
		{time.Date(2300, 1, 1, 0, 0, 0, 0, time.UTC), math.MaxInt64},
		{time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC), math.MaxInt64},
	} {
		if got := UnixNano(c.at); got != c.want {
			t.Errorf("%v is %d, not %d", c.at, got, c.want)
		}
	}
}
