package conf

import (
	"github.com/nats-io/nkeys"
)

// decodeAccounts reads a block of account names, or a list of names without
// anything else.
func decodeAccounts(d *decoder, f *field, c *Config) {
	c.Accounts = nil
	if f.value.kind == kindList {
		names, _ := readStrings(d, f)
		for _, name := range names {
			d.addAccount(c, newAccount(name), f.value.pos)
		}
		return
	}
	if !d.is(f, kindBlock) {
		return
	}
	for _, af := range f.value.fields.fields {
		a := newAccount(af.key)
		if d.is(af, kindBlock) {
			accountSchema().decode(d, af.value.fields, &a)
		}
		d.addAccount(c, a, af.pos)
	}
}

func (d *decoder) addAccount(c *Config, a Account, pos Pos) {
	if a.Name == GlobalAccount {
		d.faults.addf(pos, "account %q is reserved", a.Name)
		return
	}
	for _, other := range c.Accounts {
		if other.Name == a.Name {
			d.faults.addf(pos, "account %q is defined twice", a.Name)
			return
		}
	}
	c.Accounts = append(c.Accounts, a)
}

func newAccount(name string) Account {
	return Account{Name: name, Limits: AccountLimits{MaxConnections: -1, MaxSubscriptions: -1, MaxPayload: -1}}
}

func accountSchema() schema[Account] {
	return schema[Account]{blockAccount, map[string]handler[Account]{
		"nkey":                decodeAccountKey,
		"users":               put(readUsers, func(a *Account) *[]User { return &a.Users }),
		"default_permissions": put(readPermissions, func(a *Account) **Permissions { return &a.DefaultPermissions }),
		"limits":              sub(accountLimitsSchema, func(a *Account) *AccountLimits { return &a.Limits }),
		"jetstream":           decodeAccountJetStream,
		"exports":             decodeExports,
		"imports":             decodeImports,
		"mappings":            put(readMappings, func(a *Account) *[]Mapping { return &a.Mappings }),
	}}
}

func decodeAccountKey(d *decoder, f *field, a *Account) {
	if key, ok := readString(d, f); ok {
		if !nkeys.IsValidPublicAccountKey(key) {
			d.fault(f, "must be a public account nkey, which %q is not", key)
			return
		}
		a.NKey = key
	}
}

func accountLimitsSchema() schema[AccountLimits] {
	return schema[AccountLimits]{blockAccountLimits, map[string]handler[AccountLimits]{
		"max_connections":   put(readInt, func(l *AccountLimits) *int { return &l.MaxConnections }),
		"max_subscriptions": put(readInt, func(l *AccountLimits) *int { return &l.MaxSubscriptions }),
		"max_payload":       put(readInt, func(l *AccountLimits) *int { return &l.MaxPayload }),
	}}
}

func decodeAccountJetStream(d *decoder, f *field, a *Account) {
	unlimited := &AccountJetStream{
		MaxMemory: -1, MaxStore: -1, MaxStreams: -1, MaxConsumers: -1,
		MemoryMaxStreamBytes: -1, StoreMaxStreamBytes: -1, MaxAckPending: -1,
	}
	if f.value.kind == kindBlock {
		accountJetStreamSchema().decode(d, f.value.fields, unlimited)
		a.JetStream = unlimited
		return
	}
	if on, ok := readEnabled(d, f); ok {
		if a.JetStream = nil; on {
			a.JetStream = unlimited
		}
	}
}

func accountJetStreamSchema() schema[AccountJetStream] {
	type limits = AccountJetStream
	return schema[limits]{blockAccountJetStream, map[string]handler[limits]{
		"max_memory":              put(readSize, func(l *limits) *int64 { return &l.MaxMemory }),
		"max_store":               put(readSize, func(l *limits) *int64 { return &l.MaxStore }),
		"max_streams":             put(readInt, func(l *limits) *int { return &l.MaxStreams }),
		"max_consumers":           put(readInt, func(l *limits) *int { return &l.MaxConsumers }),
		"max_bytes":               put(readBool, func(l *limits) *bool { return &l.MaxBytesRequired }),
		"memory_max_stream_bytes": put(readSize, func(l *limits) *int64 { return &l.MemoryMaxStreamBytes }),
		"disk_max_stream_bytes":   put(readSize, func(l *limits) *int64 { return &l.StoreMaxStreamBytes }),
		"max_ack_pending":         put(readInt, func(l *limits) *int { return &l.MaxAckPending }),
		// Raft traffic of an account's assets goes over the links between servers
		// and through no account.
		"cluster_traffic": noEffect[limits](readString),
	}}
}
