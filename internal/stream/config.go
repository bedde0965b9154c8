package stream

import (
	"fmt"
	"maps"
	"strconv"
	"strings"
	"time"

	"weir/internal/api"
	"weir/internal/apierr"
	"weir/internal/subject"
)

// Limits of every stream.
const (
	MaxNameLen        = 255
	MaxDescriptionLen = 4096
	MaxMetadataLen    = 128 << 10 // bytes of keys and values together
	MaxReplicas       = 5
	// MaxSeq is the highest sequence that a client may have a stream go on from.
	MaxSeq = 1 << 62

	defaultDuplicateWindow = 2 * time.Minute
	minDuration            = 100 * time.Millisecond
	minMarkerTTL           = time.Second
)

const (
	persistDefault   = "default"
	persistAsync     = "async"
	jetStreamAPI     = "$JS.API"
	reservedByJS     = "$JS.>"
	advisoriesOfJS   = "$JS.EVENT.>" // may be kept
	reservedCluster  = "$JSC.>"
	reservedBySystem = "$SYS.>"
)

// Limits are those of the account and the server that bear on a stream; zero is none.
type Limits struct {
	// MaxBytesRequired: a stream has to have max_bytes.
	MaxBytesRequired bool
	// MaxStreamBytes is the most that max_bytes may be.
	MaxStreamBytes int64
	// MaxDuplicates is the most that duplicate_window may be; the server's.
	MaxDuplicates time.Duration
}

// Check fills in the defaults of a configuration for a new stream and checks it. pedantic refuses a value that would be
// adjusted. What depends on other streams or on placement is not checked here.
func Check(cfg api.StreamConfig, limits Limits, pedantic bool) (api.StreamConfig, *apierr.Error) {
	if cfg.Sealed {
		return cfg, apierr.JSStreamInvalidConfigF("stream configuration for create can not be sealed")
	}
	if cfg.MirrorDirect && cfg.Mirror == nil {
		return cfg, invalid("stream has no mirror but does have mirror direct")
	}
	if strings.ContainsAny(cfg.Name, `/\`) {
		return cfg, apierr.JSStreamNameContainsPathSeparatorsErr
	}
	return CheckAlone(cfg, limits, pedantic)
}

// CheckAlone is Check for a configuration of which it is not known whether it is a new stream's or an update: it may be sealed,
// and have been a mirror's. Of several faults it names the one that nats-server names.
func CheckAlone(cfg api.StreamConfig, limits Limits, pedantic bool) (api.StreamConfig, *apierr.Error) {
	steps := []func(*api.StreamConfig) *apierr.Error{
		checkName,
		func(c *api.StreamConfig) *apierr.Error { return setDefaults(c, limits, pedantic) },
		func(c *api.StreamConfig) *apierr.Error { return checkTimes(c, limits) },
		checkCounter,
		checkDiscard,
		func(c *api.StreamConfig) *apierr.Error { return checkMarkers(c, pedantic) },
		func(c *api.StreamConfig) *apierr.Error { return checkSchedules(c, pedantic) },
		checkPersistMode,
		checkMirror,
		checkSources,
		checkSubjects,
		func(c *api.StreamConfig) *apierr.Error { return limits.check(c) },
		checkTransform,
		checkRePublish,
		checkPlacement,
	}
	for _, step := range steps {
		if e := step(&cfg); e != nil {
			return cfg, e
		}
	}
	cfg.Metadata = storedMetadata(cfg.Metadata, requiredLevel(&cfg))
	return cfg, nil
}

func invalid(format string, args ...any) *apierr.Error {
	return apierr.JSStreamInvalidConfigF(fmt.Sprintf(format, args...))
}

func checkName(c *api.StreamConfig) *apierr.Error {
	switch {
	case c.Name == "" || strings.ContainsAny(c.Name, ".*>/\\ \t\r\n\f"):
		return invalid(`stream name is required and can not contain '.', '*', '>', '\', '/'`)
	case len(c.Name) > MaxNameLen:
		return invalid("stream name is too long, maximum allowed is %d", MaxNameLen)
	case len(c.Description) > MaxDescriptionLen:
		return invalid("stream description is too long, maximum allowed is %d", MaxDescriptionLen)
	}
	size := 0
	for k, v := range c.Metadata {
		size += len(k) + len(v)
	}
	if size > MaxMetadataLen {
		return invalid("stream metadata exceeds maximum size of %d bytes", MaxMetadataLen)
	}
	switch {
	case c.Replicas < 0:
		return apierr.JSReplicasCountCannotBeNegative
	case c.Replicas > MaxReplicas:
		return invalid("maximum replicas is %d", MaxReplicas)
	}
	return nil
}

// setDefaults replaces what is absent, and numbers that mean the same.
func setDefaults(c *api.StreamConfig, limits Limits, pedantic bool) *apierr.Error {
	orDefault(&c.Retention, api.LimitsRetention)
	orDefault(&c.Discard, api.DiscardOld)
	orDefault(&c.Storage, api.FileStorage)
	orDefault(&c.Compression, api.NoCompression)
	orDefault(&c.Replicas, 1)
	if pedantic {
		if e := checkUnlimited(c); e != nil {
			return e
		}
	}
	unlimited(&c.MaxMsgs)
	unlimited(&c.MaxBytes)
	unlimited(&c.MaxMsgsPer)
	unlimited(&c.MaxMsgSize)
	unlimited(&c.MaxConsumers)
	if c.PersistMode == persistDefault {
		c.PersistMode = ""
	}
	if len(c.Subjects) == 0 && c.Mirror == nil && len(c.Sources) == 0 {
		c.Subjects = []string{c.Name}
	}
	if c.Placement != nil && c.Placement.Cluster == "" && len(c.Placement.Tags) == 0 && c.Placement.Preferred == "" {
		c.Placement = nil
	}
	if c.Duplicates == 0 && c.Mirror == nil && len(c.Sources) == 0 {
		c.Duplicates = defaultDuplicateWindow
		if limits.MaxDuplicates > 0 {
			c.Duplicates = min(c.Duplicates, limits.MaxDuplicates)
		}
		if c.MaxAge >= minDuration && c.MaxAge < c.Duplicates {
			if pedantic {
				return apierr.JSPedanticErrF("duplicate window cannot be bigger than max age")
			}
			c.Duplicates = c.MaxAge
		}
	}
	if len(c.Sources) == 0 {
		c.Sources = nil
	}
	if r := c.RePublish; r != nil && r.Source == "" {
		if pedantic {
			return apierr.JSPedanticErrF("republish source can not be empty")
		}
		withSource := *r
		withSource.Source = ">"
		c.RePublish = &withSource
	}
	return nil
}

func orDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// unlimited makes every number that stands for no limit -1.
func unlimited[T int | int32 | int64](field *T) {
	if *field <= 0 {
		*field = -1
	}
}

// checkUnlimited refuses numbers that mean no limit and are not the one that stands for it.
func checkUnlimited(c *api.StreamConfig) *apierr.Error {
	for _, f := range []struct {
		name  string
		value int64
	}{
		{"max_msgs", c.MaxMsgs}, {"max_bytes", c.MaxBytes}, {"max_msgs_per_subject", c.MaxMsgsPer},
		{"max_msg_size", int64(c.MaxMsgSize)}, {"max_consumers", int64(c.MaxConsumers)},
	} {
		if f.value < -1 {
			return apierr.JSPedanticErrF(f.name + " must be set to -1")
		}
	}
	return nil
}

func (l Limits) check(c *api.StreamConfig) *apierr.Error {
	switch {
	case l.MaxBytesRequired && c.MaxBytes <= 0:
		return apierr.JSStreamMaxBytesRequired
	case l.MaxStreamBytes > 0 && c.MaxBytes > l.MaxStreamBytes:
		return apierr.JSStreamMaxStreamBytesExceeded
	}
	return nil
}

func checkTimes(c *api.StreamConfig, limits Limits) *apierr.Error {
	switch {
	case c.FirstSeq > MaxSeq:
		return invalid("first sequence can not be above %d", uint64(MaxSeq))
	case c.MaxAge < 0:
		return invalid("max age can not be negative")
	case c.MaxAge != 0 && c.MaxAge < minDuration:
		return invalid("max age needs to be >= %v", minDuration)
	case limits.MaxDuplicates > 0 && c.Duplicates > limits.MaxDuplicates:
		return invalid("duplicates window can not be larger then server limit of %v", limits.MaxDuplicates)
	case c.Duplicates < 0:
		return invalid("duplicates window can not be negative")
	case c.MaxAge != 0 && c.Duplicates > c.MaxAge:
		return invalid("duplicates window can not be larger then max age")
	case c.Duplicates > 0 && c.Duplicates < minDuration:
		return invalid("duplicates window needs to be >= %v", minDuration)
	case c.DenyPurge && c.AllowRollup:
		return invalid("roll-ups require the purge permission")
	}
	return nil
}

func checkCounter(c *api.StreamConfig) *apierr.Error {
	switch {
	case !c.AllowMsgCounter:
	case c.Discard == api.DiscardNew:
		return invalid("counter stream cannot use discard new")
	case c.AllowMsgTTL:
		return errCounterTTL()
	case c.AllowMsgSchedules:
		return invalid("counter stream cannot use message schedules")
	case c.Retention != api.LimitsRetention:
		return invalid("counter stream can only use limits retention")
	}
	return nil
}

func errCounterTTL() *apierr.Error { return invalid("counter stream cannot use message TTLs") }

func checkDiscard(c *api.StreamConfig) *apierr.Error {
	switch {
	case c.DiscardNewPer && c.Discard != api.DiscardNew:
		return invalid("discard new per subject requires discard new policy to be set")
	case c.DiscardNewPer && c.MaxMsgsPer <= 0:
		return invalid("discard new per subject requires max msgs per subject > 0")
	}
	return nil
}

// checkMarkers checks markers of deletes and sets what they need.
func checkMarkers(c *api.StreamConfig, pedantic bool) *apierr.Error {
	switch {
	case c.SubjectDeleteMarkerTTL == 0:
		return nil
	case c.SubjectDeleteMarkerTTL < 0:
		return invalid("subject delete marker TTL must not be negative")
	case c.SubjectDeleteMarkerTTL < minMarkerTTL:
		return invalid("subject delete marker TTL must be at least 1 second")
	case !pedantic && c.AllowMsgCounter: // markers have a TTL
		return errCounterTTL()
	case !pedantic:
		c.AllowMsgTTL, c.AllowRollup, c.DenyPurge = true, true, false
	case !c.AllowMsgTTL:
		return invalid("subject delete marker cannot be set if message TTLs are disabled")
	case !c.AllowRollup:
		return invalid("subject delete marker cannot be set if roll-ups are disabled")
	}
	return nil
}

// checkSchedules checks whether messages may hold schedules and sets what they need.
func checkSchedules(c *api.StreamConfig, pedantic bool) *apierr.Error {
	switch {
	case !c.AllowMsgSchedules:
	case c.Discard == api.DiscardNew:
		return invalid("message scheduling cannot use discard new")
	case !pedantic:
		c.AllowRollup, c.DenyPurge = true, false
	case !c.AllowRollup:
		return invalid("message scheduling cannot be set if roll-ups are disabled")
	}
	return nil
}

func checkPersistMode(c *api.StreamConfig) *apierr.Error {
	switch {
	case c.PersistMode != persistAsync:
	case c.Storage != api.FileStorage:
		return invalid("async persist mode is only supported on file storage")
	case c.Replicas > 1:
		return invalid("async persist mode is not supported on replicated streams")
	case c.AllowAtomic:
		return invalid("async persist mode is not supported with atomic batch publish")
	}
	return nil
}

func checkPlacement(c *api.StreamConfig) *apierr.Error {
	if c.Placement != nil && c.Placement.Preferred != "" {
		return invalid("preferred server not permitted in placement")
	}
	return nil
}

func checkTransform(c *api.StreamConfig) *apierr.Error {
	t := c.SubjectTransform
	if t == nil {
		return nil
	}
	if t.Source != "" && !subject.Valid(t.Source) {
		return apierr.JSStreamTransformInvalidSource("invalid subject " + t.Source)
	}
	if _, err := subject.NewTransform(t.Source, t.Destination); err != nil {
		return apierr.JSStreamTransformInvalidDestination(err)
	}
	return nil
}

func checkSubjects(c *api.StreamConfig) *apierr.Error {
	for i, s := range c.Subjects {
		if !subject.Valid(s) {
			return invalid("invalid subject")
		}
		if !c.NoAck {
			switch {
			case s == ">":
				return invalid("capturing all subjects requires no-ack to be true")
			case (subject.Overlap(s, reservedByJS) || subject.Overlap(s, reservedCluster)) && !subject.Subset(s, advisoriesOfJS):
				return invalid("subjects that overlap with jetstream api require no-ack to be true")
			case subject.Overlap(s, reservedBySystem) && !subject.Subset(s, "$SYS.ACCOUNT.>"):
				return invalid("subjects that overlap with system api require no-ack to be true")
			}
		}
		for _, other := range c.Subjects[:i] {
			if subject.Overlap(s, other) {
				return invalid("subject %q overlaps with %q", other, s)
			}
		}
	}
	return nil
}

func checkRePublish(c *api.StreamConfig) *apierr.Error {
	r := c.RePublish
	if r == nil {
		return nil
	}
	if r.Destination != "" {
		for _, s := range c.Subjects {
			if subject.Overlap(s, r.Destination) {
				return invalid("stream configuration for republish destination forms a cycle")
			}
		}
		if _, err := subject.NewTransform(r.Source, r.Destination); err != nil {
			return invalid("stream configuration for republish with transform from '%s' to '%s' not valid", r.Source, r.Destination)
		}
	}
	return nil
}

// requiredLevel is the API level that a configuration needs.
func requiredLevel(c *api.StreamConfig) int {
	switch {
	case c.AllowBatched:
		return 4
	case c.AllowMsgCounter || c.AllowAtomic || c.AllowMsgSchedules || c.PersistMode == persistAsync:
		return 2
	case c.AllowMsgTTL || c.SubjectDeleteMarkerTTL > 0:
		return 1
	}
	return 0
}

// storedMetadata is a client's metadata with what the server sets.
func storedMetadata(from map[string]string, level int) map[string]string {
	m := maps.Clone(from)
	if m == nil {
		m = map[string]string{}
	}
	delete(m, api.MetadataVersion)
	delete(m, api.MetadataLevel)
	m[api.MetadataRequiredLevel] = strconv.Itoa(level)
	return m
}
