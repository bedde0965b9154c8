package stream

import (
	"weir/internal/api"
	"weir/internal/apierr"
)

// Limits are those of the account and the server that bear on a stream; 0 is none.
type Limits struct {
	MaxBytesRequired bool
	MaxStreamBytes   int64
	MaxPayload       int
	// Level is the API level of this server.
	Level int
}

// Check fills in defaults and checks a configuration for a new stream. pedantic refuses a value that a default would
// replace.
func Check(cfg api.StreamConfig, limits Limits, pedantic bool) (api.StreamConfig, *apierr.Error) {
	return cfg, nil
}

// CheckUpdate checks whether a stream's configuration may become cfg, which it first completes like Check.
func CheckUpdate(old *api.StreamConfig, cfg api.StreamConfig, limits Limits, pedantic bool) (api.StreamConfig, *apierr.Error) {
	return cfg, nil
}
