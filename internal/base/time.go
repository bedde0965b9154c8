package base

import (
	"math"
	"time"
)

// UnixNano is t in unix nanoseconds. A time that they can not hold, as one in a
// request may be, is the first or the last one that they can.
func UnixNano(t time.Time) int64 {
	switch {
	case t.Before(time.Unix(0, math.MinInt64)):
		return math.MinInt64
	case t.After(time.Unix(0, math.MaxInt64)):
		return math.MaxInt64
	}
	return t.UnixNano()
}
