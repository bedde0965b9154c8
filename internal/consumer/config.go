package consumer

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"weir/internal/api"
	"weir/internal/apierr"
)

// Limits of every consumer, and defaults.
const (
	MaxNameLen        = 255
	MaxDescriptionLen = 4096
	MaxMetadataLen    = 128 << 10 // bytes of keys and values together
	MaxGroupNameLen   = 16

	DefaultAckWait           = 30 * time.Second
	DefaultMaxAckPending     = 1000
	DefaultMaxWaiting        = 512
	DefaultInactiveThreshold = 5 * time.Second // of ephemeral consumers
	DefaultPinnedTTL         = 2 * time.Minute

	minHeartbeat      = 100 * time.Millisecond
	defaultHeartbeat  = time.Second // with flow control acks
	minRequestExpires = time.Millisecond
)

// Limits are those of the account and the server that bear on a consumer; 0 is none.
type Limits struct {
	// MaxConsumers is the most that the account may have on a stream.
	MaxConsumers int `json:"max_consumers,omitempty"`
	// MaxAckPending is the most that max_ack_pending may be.
	MaxAckPending int `json:"max_ack_pending,omitempty"`
	// MaxRequestBatch is the most that max_batch may be.
	MaxRequestBatch int `json:"max_request_batch,omitempty"`
}

// Check fills in the defaults of a configuration for a consumer of a stream and checks it. A consumer without a name has been
// given one. pedantic refuses a value that would be adjusted. What depends on the stream's other consumers is not
// checked here.
func Check(cfg api.ConsumerConfig, of *api.StreamConfig, limits Limits, pedantic bool) (api.ConsumerConfig, *apierr.Error) {
	steps := []func(*api.ConsumerConfig, *api.StreamConfig) *apierr.Error{
		checkName,
		func(c *api.ConsumerConfig, of *api.StreamConfig) *apierr.Error {
			return setDefaults(c, of, limits, pedantic)
		},
		checkFlowControlAcks,
		checkTimes,
		func(c *api.ConsumerConfig, of *api.StreamConfig) *apierr.Error { return limits.check(c, of) },
		checkDelivery,
		checkFilters,
		checkStart,
		checkSampling,
		checkPriority,
		checkWorkQueue,
	}
	if cfg.Sourcing && cfg.Direct && of.Retention != api.LimitsRetention {
		keepForCopier(&cfg)
	}
	for _, step := range steps {
		if e := step(&cfg, of); e != nil {
			return cfg, e
		}
	}
	cfg.Metadata = storedMetadata(cfg.Metadata, requiredLevel(&cfg))
	return cfg, nil
}

// The proposer gives every consumer of a mirror or source a name of its own, whatever the stream's retention is: that which it asked for, and something behind
// a dash that no other one has. If the consumer is kept, that is taken away again.
const (
	UnkeptMark      = "-"
	UnkeptSuffixLen = 8
)

// keptName is the name that a mirror or source asked for.
func keptName(name string) string {
	if i := len(name) - UnkeptSuffixLen - len(UnkeptMark); i > 0 && strings.HasPrefix(name[i:], UnkeptMark) {
		return name[:i]
	}
	return name
}

// keepForCopier makes the consumer of a mirror or source a durable one whose acks are the answers to its flow control requests:
// a stream without limits retention drops what it has delivered, so nothing could be read again (ADR-60).
func keepForCopier(c *api.ConsumerConfig) {
	c.Name = keptName(c.Name)
	c.Durable, c.Direct, c.MemoryStorage, c.Replicas = c.Name, false, false, 0
	c.AckPolicy, c.AckWait, c.BackOff, c.MaxDeliver = api.AckFlowControl, 0, nil, -1
	c.MaxAckPending, c.InactiveThreshold = 0, 0
}

func checkName(c *api.ConsumerConfig, of *api.StreamConfig) *apierr.Error {
	if c.Name == "" {
		c.Name = c.Durable
	}
	switch {
	case c.Durable != "" && c.Durable != c.Name:
		return apierr.JSConsumerCreateDurableAndNameMismatch
	case strings.ContainsAny(c.Name, `/\`):
		return apierr.JSConsumerNameContainsPathSeparatorsErr
	case c.Name == "" || strings.ContainsAny(c.Name, ".*> \t\r\n\f"):
		return apierr.JSConsumerBadDurableNameErr
	case len(c.Name) > MaxNameLen:
		return apierr.JSConsumerNameTooLongErrF(MaxNameLen)
	case len(c.Description) > MaxDescriptionLen:
		return apierr.JSConsumerDescriptionTooLongErrF(MaxDescriptionLen)
	}
	size := 0
	for k, v := range c.Metadata {
		size += len(k) + len(v)
	}
	switch {
	case size > MaxMetadataLen:
		return apierr.JSConsumerMetadataLengthErrF("128KB")
	case c.Replicas < 0:
		return apierr.JSReplicasCountCannotBeNegative
	case c.Replicas > max(of.Replicas, 1):
		return apierr.JSConsumerReplicasExceedsStream
	case c.Replicas != 0 && of.Retention != api.LimitsRetention && c.Replicas != max(of.Replicas, 1):
		return apierr.JSConsumerReplicasShouldMatchStream
	}
	return nil
}

func setDefaults(c *api.ConsumerConfig, of *api.StreamConfig, limits Limits, pedantic bool) *apierr.Error {
	if pedantic {
		if e := checkPedantic(c, &of.ConsumerLimits); e != nil {
			return e
		}
	}
	orDefault(&c.DeliverPolicy, api.DeliverAll)
	orDefault(&c.AckPolicy, api.AckNone)
	orDefault(&c.ReplayPolicy, api.ReplayInstant)
	if c.PriorityPolicy == api.PriorityNone {
		c.PriorityPolicy = ""
	}
	if len(c.FilterSubjects) == 0 {
		c.FilterSubjects = nil
	}
	atLeastZero(&c.Heartbeat)
	atLeastZero(&c.MaxRequestBatch)
	atLeastZero(&c.MaxRequestExpires)
	atLeastZero(&c.MaxRequestMaxBytes)
	atLeastZero(&c.InactiveThreshold)
	if c.AckPolicy == api.AckFlowControl {
		setFlowControlDefaults(c, &of.ConsumerLimits)
		return nil
	}
	if c.MaxDeliver <= 0 {
		c.MaxDeliver = -1
	}
	if len(c.BackOff) > 0 && c.BackOff[0] >= 0 {
		c.AckWait = c.BackOff[0]
	} else if c.AckPolicy != api.AckNone {
		orDefault(&c.AckWait, DefaultAckWait)
	}
	if c.DeliverSubject == "" && c.MaxWaiting <= 0 {
		c.MaxWaiting = DefaultMaxWaiting
	}
	setStreamDefaults(c, &of.ConsumerLimits)
	if c.AckPolicy != api.AckNone {
		orDefault(&c.MaxAckPending, min(DefaultMaxAckPending, orMax(limits.MaxAckPending)))
	}
	c.MaxAckPending = max(c.MaxAckPending, -1)
	if c.Durable == "" {
		orDefault(&c.InactiveThreshold, DefaultInactiveThreshold)
	}
	if c.PriorityPolicy == api.PriorityPinned && c.PinnedTTL <= 0 {
		c.PinnedTTL = DefaultPinnedTTL
	}
	return nil
}

// setStreamDefaults takes what the stream sets for consumers that say nothing.
func setStreamDefaults(c *api.ConsumerConfig, l *api.StreamConsumerLimits) {
	orDefault(&c.MaxAckPending, l.MaxAckPending) // below zero is none
	if l.InactiveThreshold > 0 {
		orDefault(&c.InactiveThreshold, l.InactiveThreshold)
	}
}

func setFlowControlDefaults(c *api.ConsumerConfig, of *api.StreamConsumerLimits) {
	orDefault(&c.Heartbeat, defaultHeartbeat)
	setStreamDefaults(c, of)
	orDefault(&c.MaxAckPending, DefaultMaxAckPending)
	if c.MaxDeliver == 0 {
		c.MaxDeliver = -1
	}
	c.FlowControl = true
	if c.Durable == "" {
		orDefault(&c.InactiveThreshold, DefaultInactiveThreshold)
	}
}

func checkPedantic(c *api.ConsumerConfig, l *api.StreamConsumerLimits) *apierr.Error {
	switch {
	case c.AckWait < 0:
		return nil // refused anyway, with a clearer error
	case c.MaxDeliver < -1:
		return apierr.JSPedanticErrF("max_deliver must be set to -1")
	case len(c.BackOff) > 0 && c.AckWait != c.BackOff[0]:
		return apierr.JSPedanticErrF("first backoff value has to equal batch AckWait")
	case c.MaxAckPending < -1:
		return apierr.JSPedanticErrF("max_ack_pending must be set to -1")
	case l.MaxAckPending > 0 && c.MaxAckPending == 0:
		return apierr.JSPedanticErrF("max_ack_pending must be set if it's configured in stream limits")
	case l.InactiveThreshold > 0 && c.InactiveThreshold == 0:
		return apierr.JSPedanticErrF("inactive_threshold must be set if it's configured in stream limits")
	}
	return checkPedanticSigns(c)
}

func checkPedanticSigns(c *api.ConsumerConfig) *apierr.Error {
	for _, field := range []struct {
		name     string
		negative bool
	}{
		{"max_waiting", c.MaxWaiting < 0},
		{"max_batch", c.MaxRequestBatch < 0},
		{"max_expires", c.MaxRequestExpires < 0},
		{"max_bytes", c.MaxRequestMaxBytes < 0},
		{"idle_heartbeat", c.Heartbeat < 0},
		{"inactive_threshold", c.InactiveThreshold < 0},
		{"priority_timeout", c.PinnedTTL < 0},
	} {
		if field.negative {
			return apierr.JSPedanticErrF(field.name + " must not be negative")
		}
	}
	return nil
}

func orDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

func atLeastZero[T int | time.Duration](field *T) { *field = max(*field, 0) }

// orMax is a limit, or a number above all others when there is none.
func orMax(limit int) int {
	if limit <= 0 {
		return math.MaxInt
	}
	return limit
}

func (l Limits) check(c *api.ConsumerConfig, of *api.StreamConfig) *apierr.Error {
	ackPending := min(orMax(l.MaxAckPending), orMax(of.ConsumerLimits.MaxAckPending))
	switch {
	case c.MaxAckPending > ackPending:
		return apierr.JSConsumerMaxPendingAckExcessErrF(ackPending)
	case of.ConsumerLimits.InactiveThreshold > 0 && c.InactiveThreshold > of.ConsumerLimits.InactiveThreshold:
		return apierr.JSConsumerInactiveThresholdExcess(of.ConsumerLimits.InactiveThreshold)
	case c.MaxRequestBatch > orMax(l.MaxRequestBatch):
		return apierr.JSConsumerMaxRequestBatchExceededF(l.MaxRequestBatch)
	}
	return nil
}

// Within tells whether a configuration keeps to the limits that a stream sets its consumers.
func Within(cfg *api.ConsumerConfig, limits *api.StreamConsumerLimits) bool {
	return (limits.MaxAckPending <= 0 || cfg.MaxAckPending <= limits.MaxAckPending) &&
		(limits.InactiveThreshold <= 0 || cfg.InactiveThreshold <= limits.InactiveThreshold)
}

func checkTimes(c *api.ConsumerConfig, _ *api.StreamConfig) *apierr.Error {
	if c.AckWait < 0 {
		return apierr.JSConsumerAckWaitNegativeErr
	}
	for _, b := range c.BackOff {
		if b < 0 {
			return apierr.JSConsumerBackOffNegativeErr
		}
	}
	if c.MaxDeliver > 0 && len(c.BackOff) > c.MaxDeliver {
		return apierr.JSConsumerMaxDeliverBackoffErr
	}
	return nil
}

func checkSampling(c *api.ConsumerConfig, _ *api.StreamConfig) *apierr.Error {
	if s := c.SampleFrequency; s != "" {
		n, err := strconv.Atoi(strings.TrimSuffix(s, "%"))
		if err != nil || n < 0 {
			return apierr.JSConsumerInvalidSamplingErrF(fmt.Sprint(err))
		}
	}
	return nil
}

func checkFlowControlAcks(c *api.ConsumerConfig, _ *api.StreamConfig) *apierr.Error {
	if c.AckPolicy != api.AckFlowControl {
		return nil
	}
	switch {
	case c.DeliverSubject == "":
		return apierr.JSConsumerAckFCRequiresPushErr
	case c.MaxAckPending <= 0:
		return apierr.JSConsumerAckFCRequiresMaxAckPendingErr
	case c.AckWait != 0 || len(c.BackOff) > 0:
		return apierr.JSConsumerAckFCRequiresNoAckWaitErr
	case c.MaxDeliver > 0:
		return apierr.JSConsumerAckFCRequiresNoMaxDeliverErr
	}
	return nil
}

// requiredLevel is the API level that a configuration needs, an index of levelMetadata.
func requiredLevel(c *api.ConsumerConfig) int {
	switch {
	case c.AckPolicy == api.AckFlowControl:
		return 4
	case c.PauseUntil != nil && !c.PauseUntil.IsZero() || c.PriorityPolicy != "" || len(c.PriorityGroups) > 0:
		return 1
	}
	return 0
}

const levelKey = api.MetadataRequiredLevel

// storedMetadata is what is kept of a configuration's metadata. Those that say nothing else share it: they are many, and it is
// never changed.
func storedMetadata(from map[string]string, level int) map[string]string {
	m := clientMetadata(from)
	if m == nil {
		return levelMetadata[level]
	}
	m[levelKey] = strconv.Itoa(level)
	return m
}

// shareMetadata is m, or what storedMetadata would have shared.
func shareMetadata(m map[string]string) map[string]string {
	if len(m) != 1 {
		return m
	}
	for _, shared := range levelMetadata {
		if m[levelKey] == shared[levelKey] {
			return shared
		}
	}
	return m
}

var levelMetadata = [...]map[string]string{{levelKey: "0"}, {levelKey: "1"}, {levelKey: "2"}, {levelKey: "3"}, {levelKey: "4"}}
