package base

import (
	"errors"
	"fmt"
)

// ErrCorrupt marks every error that says that stored bytes are not what was
// written. It stops the replica that met it, never the process.
var ErrCorrupt = errors.New("corruption")

// Corruptf returns an error marked as corruption.
func Corruptf(format string, args ...any) error {
	return fmt.Errorf("%w: %w", ErrCorrupt, fmt.Errorf(format, args...))
}

// IsCorrupt tells whether err is marked as corruption.
func IsCorrupt(err error) bool { return errors.Is(err, ErrCorrupt) }

// Assert panics with the formatted message when a condition that only a bug can
// break does not hold.
func Assert(ok bool, format string, args ...any) {
	if !ok {
		panic("bug: " + fmt.Sprintf(format, args...))
	}
}
