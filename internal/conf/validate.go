package conf

import (
	"strings"
	"time"
)

const (
	minLameDuck = 30 * time.Second
	// A payload above this works, but is a sign of a wrong use.
	advisedMaxPayload = 8 << 20
	// maxPayload is the most that max_payload may be: frames between servers have
	// room for it.
	maxPayload = 64 << 20
)

// validator looks for values that do not fit together.
type validator struct {
	faults Errors
	cfg    *Config
}

// Validate reports every fault of c as an [Errors]. Load, Parse and New call it.
func (c *Config) Validate() error {
	v := &validator{cfg: c}
	v.server()
	v.authorization()
	v.accounts()
	v.references()
	v.imports()
	v.cluster()
	return v.faults.err()
}

// advice is the warnings about values that fit together but should be changed.
func (c *Config) advice() (warnings []Fault) {
	if c.Limits.MaxPayload > advisedMaxPayload {
		warnings = append(warnings, Fault{c.keyPos[blockTop+" max_payload"],
			"max_payload is above 8MB; large messages are better stored elsewhere and referred to"})
	}
	if c.JetStream.Enabled && c.JetStream.StoreDir == "" {
		warnings = append(warnings, Fault{c.keyPos[blockTop+" jetstream"],
			"jetstream has no store_dir, so data goes to the temporary directory " + c.JetStream.StorePath()})
	}
	return warnings
}

// faultf reports a fault where the key of a block stands, if a file has it.
func (v *validator) faultf(block, key, format string, args ...any) {
	v.faults.addf(v.cfg.keyPos[block+" "+key], format, args...)
}

func (v *validator) server() {
	c := v.cfg
	if strings.ContainsAny(c.ServerName, " \t\r\n") {
		v.faultf(blockTop, "server_name", "server_name %q must not contain spaces", c.ServerName)
	}
	if c.Limits.MaxPayload > maxPayload {
		v.faultf(blockTop, "max_payload", "max_payload (%d) must not be above %d", c.Limits.MaxPayload, maxPayload)
	}
	if int64(c.Limits.MaxPayload) > c.Limits.MaxPending {
		v.faultf(blockTop, "max_payload", "max_payload (%d) must not be above max_pending (%d)",
			c.Limits.MaxPayload, c.Limits.MaxPending)
	}
	if c.LameDuck.Duration < minLameDuck {
		v.faultf(blockTop, "lame_duck_duration", "lame_duck_duration (%s) must be at least %s",
			c.LameDuck.Duration, minLameDuck)
	} else if c.LameDuck.Grace < 0 || c.LameDuck.Grace >= c.LameDuck.Duration {
		v.faultf(blockTop, "lame_duck_grace_period",
			"lame_duck_grace_period (%s) must be from 0 to below lame_duck_duration (%s)",
			c.LameDuck.Grace, c.LameDuck.Duration)
	}
}

func (v *validator) authorization() {
	a := &v.cfg.Authorization
	at := func(text string) { v.faultf(blockTop, "authorization", "%s", text) }
	single := a.Username != "" || a.Password != ""
	switch {
	case single && a.Token != "":
		at("authorization has both a user and a token")
	case a.Username == "" && a.Password != "":
		at("authorization has a password without a user")
	case single && len(a.Users) > 0:
		at("authorization has both a single user and users")
	case a.Token != "" && len(a.Users) > 0:
		at("authorization has both a token and users")
	case (single || a.Token != "") && len(v.cfg.Accounts) > 0:
		at("authorization has a single user or a token, which excludes accounts; put the user into an account")
	}
	if a.Timeout < 0 {
		at("the authorization timeout is negative")
	}
}

// accounts looks for users that stand twice.
func (v *validator) accounts() {
	owner := map[string]string{}
	check := func(users []User, place string) {
		for _, u := range users {
			name := u.Username + u.NKey
			if other, ok := owner[name]; ok {
				v.faults.addf(u.pos, "user %q of %s stands in %s already", name, place, other)
			}
			owner[name] = place
		}
	}
	check(v.cfg.Authorization.Users, "authorization")
	for _, a := range v.cfg.Accounts {
		check(a.Users, "account "+a.Name)
	}
}

// references looks for names that refer to nothing.
func (v *validator) references() {
	c := v.cfg
	if c.NoAuthUser != "" && !c.hasUser(c.NoAuthUser) {
		v.faultf(blockTop, "no_auth_user", "no_auth_user %q is no user of authorization or of an account", c.NoAuthUser)
	}
	system := c.account(c.SystemAccount)
	if c.SystemAccount == GlobalAccount {
		v.faultf(blockTop, "system_account", "system_account must not be %s", GlobalAccount)
	} else if system == nil && c.SystemAccount != DefaultSystemAccount {
		v.faultf(blockTop, "system_account", "system_account %q is not in accounts", c.SystemAccount)
	}
	if system != nil && system.JetStream != nil {
		v.faultf(blockTop, "system_account", "system_account %q must not have JetStream", c.SystemAccount)
	}
}

func (v *validator) cluster() {
	c := v.cfg
	if !c.Cluster.Enabled() {
		if len(c.Cluster.Routes) > 0 {
			v.faultf(blockCluster, "routes", "routes need a cluster listener: set listen or port in cluster, or --cluster")
		}
		return
	}
	a := &c.Cluster.Authorization
	if (a.Username == "") != (a.Password == "") {
		v.faultf(blockCluster, "authorization", "the cluster's authorization needs both user and password")
	}
	if !c.JetStream.Enabled {
		return
	}
	if c.ServerName == "" {
		v.faultf(blockTop, "jetstream", "jetstream in a cluster needs server_name")
	}
	if c.Cluster.Name == "" {
		v.faultf(blockTop, "jetstream", "jetstream in a cluster needs cluster.name")
	}
	if c.NoSystemAccount {
		v.faultf(blockTop, "no_system_account", "jetstream in a cluster needs a system account")
	}
}

func (c *Config) hasUser(name string) bool {
	is := func(users []User) bool {
		for _, u := range users {
			if u.Username == name || u.NKey == name {
				return true
			}
		}
		return false
	}
	if is(c.Authorization.Users) || name == c.Authorization.Username {
		return true
	}
	for _, a := range c.Accounts {
		if is(a.Users) {
			return true
		}
	}
	return false
}

func (c *Config) account(name string) *Account {
	for i := range c.Accounts {
		if c.Accounts[i].Name == name {
			return &c.Accounts[i]
		}
	}
	return nil
}
