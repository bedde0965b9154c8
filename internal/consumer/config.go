package consumer

import (
	"weir/internal/api"
	"weir/internal/apierr"
)

// Limits are those of the account and the server that bear on a consumer; 0 is none.
type Limits struct {
	MaxConsumers  int `json:"max_consumers,omitempty"`
	MaxAckPending int `json:"max_ack_pending,omitempty"`
	// MaxRequestBatch is the server's limit for max_batch.
	MaxRequestBatch int `json:"max_request_batch,omitempty"`
}

// Check fills in defaults and checks a configuration for a consumer of a stream. pedantic refuses a value that a default
// would replace.
func Check(cfg api.ConsumerConfig, of *api.StreamConfig, limits Limits, pedantic bool) (api.ConsumerConfig, *apierr.Error) {
	return cfg, nil
}

// CheckUpdate checks whether a consumer's configuration may become cfg, which has passed Check.
func CheckUpdate(old *api.ConsumerConfig, cfg api.ConsumerConfig) (api.ConsumerConfig, *apierr.Error) {
	return cfg, nil
}

// Within tells whether a configuration keeps to the limits that a stream sets its consumers.
func Within(cfg *api.ConsumerConfig, limits *api.StreamConsumerLimits) bool {
	if limits.MaxAckPending > 0 && (cfg.MaxAckPending > limits.MaxAckPending || cfg.MaxAckPending < 0) {
		return false
	}
	return limits.InactiveThreshold <= 0 || cfg.InactiveThreshold <= limits.InactiveThreshold
}
