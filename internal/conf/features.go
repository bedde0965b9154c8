package conf

import (
	"maps"
	"slices"
	"strings"
)

// FlagAckV2 is the feature flag for subjects of acks and flow control that name the
// domain and the account (ADR-15).
const FlagAckV2 = "js_ack_fc_v2"

// flagDefaults are nats-server's feature flags as they are unless configured (ADR-53).
// Those but FlagAckV2 choose between forms of what its servers store, say to each other
// and are answered when they copy streams, which Weir has none of.
var flagDefaults = map[string]bool{
	FlagAckV2:              false,
	"js_api_reply_v2":      false,
	"js_raft_delete_range": true,
	"js_snapshot_sources":  false,
}

func decodeFeatureFlags(d *decoder, f *field, c *Config) {
	if !d.is(f, kindBlock) {
		return
	}
	c.FeatureFlags, c.configuredFlags = maps.Clone(flagDefaults), nil
	for _, flag := range f.value.fields.fields {
		_, known := flagDefaults[flag.key]
		on, ok := readBool(d, flag)
		switch {
		case !ok:
		case !known:
			d.warn(flag, "is no feature flag that is known")
		case flag.key != FlagAckV2:
			d.warn(flag, "has no effect")
			fallthrough
		default:
			c.FeatureFlags[flag.key] = on
			c.configuredFlags = append(c.configuredFlags, flag.key)
		}
	}
}

// DescribeFlags lists the feature flags that are configured and whether that is the
// default, an opt-in or an opt-out; empty without any.
func (c *Config) DescribeFlags() string {
	var list []string
	for _, name := range slices.Sorted(slices.Values(c.configuredFlags)) {
		how := "default"
		if on := c.FeatureFlags[name]; on != flagDefaults[name] {
			if how = "opt-out"; on {
				how = "opt-in"
			}
		}
		list = append(list, name+" ("+how+")")
	}
	return strings.Join(list, ", ")
}
