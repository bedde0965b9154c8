package conf

import (
	"strings"
	"time"
)

func decodeJetStream(d *decoder, f *field, c *Config) {
	if f.value.kind == kindBlock {
		c.JetStream.Enabled = true
		jetStreamSchema().decode(d, f.value.fields, &c.JetStream)
		return
	}
	if on, ok := readEnabled(d, f); ok {
		c.JetStream.Enabled = on
	}
}

// readEnabled reads a boolean or one of the words enabled and disabled.
func readEnabled(d *decoder, f *field) (on, ok bool) {
	if f.value.kind == kindBool {
		return f.value.bool, true
	}
	if f.value.kind == kindString {
		switch strings.ToLower(f.value.text) {
		case "enabled", "enable":
			return true, true
		case "disabled", "disable":
			return false, true
		}
	}
	d.fault(f, "must be enabled, disabled, a boolean or a block, not %s", describe(f.value))
	return false, false
}

func jetStreamSchema() schema[JetStream] {
	return schema[JetStream]{blockJetStream, map[string]handler[JetStream]{
		"enabled":             put(readBool, func(j *JetStream) *bool { return &j.Enabled }),
		"strict":              decodeStrict,
		"store_dir":           put(readString, func(j *JetStream) *string { return &j.StoreDir }),
		"max_memory_store":    put(readSize, func(j *JetStream) *int64 { return &j.MaxMemory }),
		"max_file_store":      put(readSize, func(j *JetStream) *int64 { return &j.MaxStore }),
		"domain":              put(readDomain, func(j *JetStream) *string { return &j.Domain }),
		"unique_tag":          decodeUniqueTag,
		"max_buffered_msgs":   put(readLimit, func(j *JetStream) *int { return &j.MaxBufferedMsgs }),
		"max_buffered_size":   put(readByteCount, func(j *JetStream) *int { return &j.MaxBufferedSize }),
		"request_queue_limit": put(readLimit, func(j *JetStream) *int { return &j.RequestQueueLimit }),
		"info_queue_limit":    put(readLimit, func(j *JetStream) *int { return &j.InfoQueueLimit }),
		"limits":              sub(jetStreamLimitsSchema, func(j *JetStream) *JetStreamLimits { return &j.Limits }),

		"sync_interval":           checkSyncInterval,
		"max_outstanding_catchup": noEffect[JetStream](readSize),
		"meta_compact":            noEffect[JetStream](readCount),
		"meta_compact_size":       noEffect[JetStream](readSize),
		"meta_compact_sync":       noEffect[JetStream](readBool),
		"max_concurrent_io":       noEffect[JetStream](readCount),
	}}
}

// decodeStrict: there is no other way than the strict one.
func decodeStrict(d *decoder, f *field, j *JetStream) {
	strict, ok := readBool(d, f)
	if !ok {
		return
	}
	if j.Strict = strict; !strict {
		d.warn(f, "has no effect: requests with unknown fields are refused")
	}
}

func jetStreamLimitsSchema() schema[JetStreamLimits] {
	type limits = JetStreamLimits
	return schema[limits]{blockJetStreamLimits, map[string]handler[limits]{
		"max_ack_pending":   put(readLimit, func(l *limits) *int { return &l.MaxAckPending }),
		"max_ha_assets":     put(readLimit, func(l *limits) *int { return &l.MaxHAAssets }),
		"max_request_batch": put(readLimit, func(l *limits) *int { return &l.MaxRequestBatch }),
		"duplicate_window":  put(readDuration, func(l *limits) *time.Duration { return &l.DuplicateWindow }),
		"batch":             sub(batchLimitsSchema, func(l *limits) *BatchLimits { return &l.Batch }),
	}}
}

func batchLimitsSchema() schema[BatchLimits] {
	return schema[BatchLimits]{blockBatchLimits, map[string]handler[BatchLimits]{
		"max_inflight_per_stream": put(readLimit, func(l *BatchLimits) *int { return &l.MaxInflightPerStream }),
		"max_inflight_total":      put(readLimit, func(l *BatchLimits) *int { return &l.MaxInflightTotal }),
		"max_msgs":                put(readLimit, func(l *BatchLimits) *int { return &l.MaxMsgs }),
		"timeout":                 put(readDuration, func(l *BatchLimits) *time.Duration { return &l.Timeout }),
	}}
}

func readDomain(d *decoder, f *field) (string, bool) {
	s, ok := readName(d, f)
	if ok && strings.ContainsAny(s, ".*>") {
		d.fault(f, "must not contain '.', '*' or '>', as %q does", s)
		return "", false
	}
	return s, ok
}

func decodeUniqueTag(d *decoder, f *field, j *JetStream) {
	if tag, ok := readString(d, f); ok {
		j.UniqueTag = strings.ToLower(strings.TrimSpace(tag))
	}
}

// checkSyncInterval checks a value that has no effect, see JetStream.
func checkSyncInterval(d *decoder, f *field, _ *JetStream) {
	if f.value.kind == kindString && strings.EqualFold(f.value.text, "always") {
		return
	}
	readDuration(d, f)
}
