package base

import "time"

// Clock is where time comes from. Pure packages never see one: they get
// timestamps as fields of the entries they apply.
type Clock interface {
	Now() time.Time
	// AfterFunc runs f in its own goroutine after d, unless stopped before.
	AfterFunc(d time.Duration, f func()) Timer
	// NewTicker delivers ticks every d until stopped.
	NewTicker(d time.Duration) Ticker
}

// Timer is a pending AfterFunc.
type Timer interface {
	Stop() bool
	Reset(d time.Duration) bool
}

// Ticker delivers ticks.
type Ticker interface {
	C() <-chan time.Time
	Stop()
}

// SystemClock is the machine's clock (or the virtual one of testing/synctest).
var SystemClock Clock = systemClock{}

type systemClock struct{}

func (systemClock) Now() time.Time { return time.Now() }
func (systemClock) AfterFunc(d time.Duration, f func()) Timer {
	return time.AfterFunc(d, f)
}
func (systemClock) NewTicker(d time.Duration) Ticker { return systemTicker{time.NewTicker(d)} }

type systemTicker struct{ *time.Ticker }

func (t systemTicker) C() <-chan time.Time { return t.Ticker.C }

// Logger is the server's log. Implementations add time, pid and level.
type Logger interface {
	Noticef(format string, args ...any)
	Warnf(format string, args ...any)
	Errorf(format string, args ...any)
	Debugf(format string, args ...any)
	Tracef(format string, args ...any)
}

// NopLogger drops everything.
type NopLogger struct{}

func (NopLogger) Noticef(string, ...any) {}
func (NopLogger) Warnf(string, ...any)   {}
func (NopLogger) Errorf(string, ...any)  {}
func (NopLogger) Debugf(string, ...any)  {}
func (NopLogger) Tracef(string, ...any)  {}
