package conf

import (
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nkeys"

	"weir/internal/subject"
)

func authorizationSchema() schema[Authorization] {
	return schema[Authorization]{blockAuthorization, map[string]handler[Authorization]{
		"user":                put(readString, func(a *Authorization) *string { return &a.Username }),
		"pass":                put(readString, func(a *Authorization) *string { return &a.Password }),
		"token":               put(readString, func(a *Authorization) *string { return &a.Token }),
		"timeout":             put(readSeconds, func(a *Authorization) *time.Duration { return &a.Timeout }),
		"users":               put(readUsers, func(a *Authorization) *[]User { return &a.Users }),
		"default_permissions": put(readPermissions, func(a *Authorization) **Permissions { return &a.DefaultPermissions }),
	}}
}

func userSchema() schema[User] {
	return schema[User]{blockUser, map[string]handler[User]{
		"user":                     put(readString, func(u *User) *string { return &u.Username }),
		"pass":                     put(readString, func(u *User) *string { return &u.Password }),
		"nkey":                     decodeUserKey,
		"permissions":              put(readPermissions, func(u *User) **Permissions { return &u.Permissions }),
		"allowed_connection_types": put(readConnectionTypes, func(u *User) *[]string { return &u.ConnectionTypes }),
	}}
}

func readUsers(d *decoder, f *field) ([]User, bool) {
	users := []User{}
	readBlocks(d, f, func(v *value) {
		u := User{pos: v.pos}
		before := len(d.faults)
		userSchema().decode(d, v.fields, &u)
		switch {
		case len(d.faults) > before:
		case u.Username == "" && u.NKey == "":
			d.faults.addf(v.pos, "a user needs a user or an nkey")
		case u.NKey != "" && (u.Username != "" || u.Password != ""):
			d.faults.addf(v.pos, "user %q: an nkey excludes user and password", u.NKey)
		}
		users = append(users, u)
	})
	return users, true
}

func decodeUserKey(d *decoder, f *field, u *User) {
	if key, ok := readString(d, f); ok {
		if !nkeys.IsValidPublicUserKey(key) {
			d.fault(f, "must be a public user nkey, which %q is not", key)
			return
		}
		u.NKey = key
	}
}

var connectionTypes = []string{
	"STANDARD", "WEBSOCKET", "LEAFNODE", "LEAFNODE_WS", "MQTT", "MQTT_WS", "IN_PROCESS",
}

func readConnectionTypes(d *decoder, f *field) ([]string, bool) {
	types, ok := readStrings(d, f)
	for i, t := range types {
		types[i] = strings.ToUpper(t)
		if !slices.Contains(connectionTypes, types[i]) {
			d.fault(f, "has the unknown kind %q; known are %s", t, strings.Join(connectionTypes, ", "))
			ok = false
		}
	}
	return types, ok
}

func readPermissions(d *decoder, f *field) (*Permissions, bool) {
	if !d.is(f, kindBlock) {
		return nil, false
	}
	p := &Permissions{}
	permissionsSchema().decode(d, f.value.fields, p)
	return p, true
}

func permissionsSchema() schema[Permissions] {
	return schema[Permissions]{blockPermissions, map[string]handler[Permissions]{
		"publish": func(d *decoder, f *field, p *Permissions) {
			decodeSubjects(d, f, &p.Publish, subject.Valid)
		},
		"subscribe": func(d *decoder, f *field, p *Permissions) {
			decodeSubjects(d, f, &p.Subscribe, validSubscription)
		},
		"allow_responses": decodeResponses,
	}}
}

// decodeSubjects reads a subject, a list of them, or a block with allow and deny.
func decodeSubjects(d *decoder, f *field, p *SubjectPermission, valid func(string) bool) {
	read := func(d *decoder, f *field) ([]string, bool) { return readSubjects(d, f, valid) }
	if f.value.kind != kindBlock {
		if subjects, ok := read(d, f); ok {
			*p = SubjectPermission{Allow: subjects}
		}
		return
	}
	schema[SubjectPermission]{blockSubjects, map[string]handler[SubjectPermission]{
		"allow": put(read, func(p *SubjectPermission) *[]string { return &p.Allow }),
		"deny":  put(read, func(p *SubjectPermission) *[]string { return &p.Deny }),
	}}.decode(d, f.value.fields, p)
}

func readSubjects(d *decoder, f *field, valid func(string) bool) ([]string, bool) {
	subjects, ok := readStrings(d, f)
	for _, s := range subjects {
		if !valid(s) {
			d.fault(f, "has the invalid subject %q", s)
			ok = false
		}
	}
	return subjects, ok
}

// validSubscription accepts "subject" and "subject queue".
func validSubscription(s string) bool {
	parts := strings.Fields(s)
	if len(parts) == 2 {
		return subject.Valid(parts[0]) && subject.Valid(parts[1])
	}
	return subject.Valid(s)
}

// Without numbers, a reply subject may be used once, within two minutes.
const (
	defaultResponses       = 1
	defaultResponseExpires = 2 * time.Minute
)

func decodeResponses(d *decoder, f *field, p *Permissions) {
	r := &ResponsePermission{MaxMsgs: defaultResponses, Expires: defaultResponseExpires}
	if f.value.kind == kindBool {
		if p.Responses = nil; f.value.bool {
			p.Responses = r
		}
		return
	}
	if f.value.kind != kindBlock {
		d.fault(f, "must be a boolean or a block, not %s", describe(f.value))
		return
	}
	schema[ResponsePermission]{blockResponses, map[string]handler[ResponsePermission]{
		"max": put(readInt, func(r *ResponsePermission) *int { return &r.MaxMsgs }),
		"expires": func(d *decoder, f *field, r *ResponsePermission) {
			if f.value.kind == kindInt && f.value.int == -1 {
				r.Expires = -1
			} else if v, ok := readDuration(d, f); ok {
				r.Expires = v
			}
		},
	}}.decode(d, f.value.fields, r)
	if r.MaxMsgs == 0 {
		r.MaxMsgs = defaultResponses
	}
	if r.Expires == 0 {
		r.Expires = defaultResponseExpires
	}
	p.Responses = r
}
