package account

import (
	"encoding/base64"
	"errors"
	"testing"
	"time"

	"github.com/nats-io/nkeys"
	"golang.org/x/crypto/bcrypt"

	"weir/internal/conf"
)

func TestPermissions(t *testing.T) {
	p := NewPermissions(&conf.Permissions{
		Publish:   conf.SubjectPermission{Allow: []string{"ok.>", "x.*"}, Deny: []string{"ok.no"}},
		Subscribe: conf.SubjectPermission{Allow: []string{"ok.>", "q.> q1", "foo", "foo v.*"}, Deny: []string{"ok.no", "ok.deny.*", "ok.q dq"}},
	})
	for subj, want := range map[string]bool{"ok.a": true, "ok.no": false, "x.y": true, "x.y.z": false, "other": false} {
		if p.CanPublish(subj) != want {
			t.Errorf("publish %s: want %v", subj, want)
		}
	}
	for _, c := range []struct {
		subj, queue string
		want        bool
	}{
		{"bad", "", false}, {"ok.>", "", true}, {"ok.no", "", false}, {">", "", false},
		{"q.a", "", false}, {"q.a", "q1", true}, {"q.a", "q2", false},
		{"ok.deny.*", "", false}, {"ok.deny.>", "", false}, {"ok.deny.a", "", false},
		{"ok.q", "", true}, {"ok.q", "dq", false}, {"ok.q", "other", true},
		{"foo", "", true}, {"foo", "v.1", true}, {"foo", "w", false},
	} {
		if p.CanSubscribe(c.subj, c.queue) != c.want {
			t.Errorf("subscribe %q %q: want %v", c.subj, c.queue, c.want)
		}
	}
	if !p.Filters("ok.>") || p.Filters("foo") || !p.DeniesDelivery([]byte("ok.no")) || p.DeniesDelivery([]byte("ok.q")) {
		t.Error("filtering of wildcard subscriptions")
	}
	var all *Permissions
	if !all.CanPublish("x") || !all.CanSubscribe(">", "") || all.Filters(">") || all.Responses() != nil {
		t.Error("nil permissions restrict")
	}
	r := NewPermissions(&conf.Permissions{Responses: &conf.ResponsePermission{MaxMsgs: 1, Expires: time.Second}})
	if r.CanPublish("foo") || r.Responses() == nil {
		t.Error("allow_responses alone allows to publish")
	}
	none := NewPermissions(&conf.Permissions{Publish: conf.SubjectPermission{Allow: []string{}}})
	if none.CanPublish("foo") || !none.CanSubscribe("foo", "") {
		t.Error("an empty list allows nothing")
	}
}

func mustRegistry(t *testing.T, cfg *conf.Config) *Registry {
	t.Helper()
	r, err := NewRegistry(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestNoAuthentication(t *testing.T) {
	r := mustRegistry(t, &conf.Config{})
	u, err := r.Authenticate(&Credentials{User: "anyone"})
	if err != nil || u.Account != r.Global() || u.Name != "" || r.Required() {
		t.Fatalf("%+v, %v", u, err)
	}
	if r.System() != r.Account(SystemName) || !r.System().IsSystem() || r.Global().JetStream() == nil {
		t.Fatal("default accounts")
	}
}

func TestUsers(t *testing.T) {
	hash, err := bcrypt.GenerateFromPassword([]byte("secret"), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	kp, _ := nkeys.CreateUser()
	pub, _ := kp.PublicKey()
	cfg := &conf.Config{
		SystemAccount: "SYS",
		NoAuthUser:    "plain",
		Accounts: []conf.Account{
			{Name: "A", Users: []conf.User{
				{Username: "plain", Password: "pw"},
				{Username: "hash", Password: string(hash), ConnectionTypes: []string{"STANDARD"}},
			}},
			{Name: "SYS", Users: []conf.User{{NKey: pub}}},
		},
	}
	r := mustRegistry(t, cfg)
	nonce := []byte("nonce")
	sig, _ := kp.Sign(nonce)
	good := base64.RawURLEncoding.EncodeToString(sig)
	for _, c := range []struct {
		cred Credentials
		want string
	}{
		{Credentials{User: "plain", Password: "pw"}, "plain"},
		{Credentials{User: "plain", Password: "no"}, ""},
		{Credentials{User: "who", Password: "no"}, ""},
		{Credentials{Token: "tok"}, ""},
		{Credentials{}, "plain"},
		{Credentials{User: "hash", Password: "secret", ConnectionType: "STANDARD"}, "hash"},
		{Credentials{User: "hash", Password: "secret", ConnectionType: "WEBSOCKET"}, ""},
		{Credentials{User: "hash", Password: string(hash), ConnectionType: "STANDARD"}, ""},
		{Credentials{NKey: pub, Signature: good, Nonce: nonce}, pub},
		{Credentials{NKey: pub, Signature: good, Nonce: []byte("other")}, ""},
		{Credentials{NKey: pub, Signature: good}, ""},
	} {
		u, err := r.Authenticate(&c.cred)
		switch {
		case c.want == "" && !errors.Is(err, ErrUnauthorized):
			t.Errorf("%+v: got %v, %v", c.cred, u, err)
		case c.want != "" && (err != nil || u.Name != c.want):
			t.Errorf("%+v: got %v, %v", c.cred, u, err)
		}
	}
	if r.Required() || !r.NonceRequired() || r.System().Name() != "SYS" || r.Global().JetStream() != nil {
		t.Error("registry of two accounts")
	}
}

func TestToken(t *testing.T) {
	r := mustRegistry(t, &conf.Config{Authorization: conf.Authorization{Token: "tok"}})
	if u, err := r.Authenticate(&Credentials{Token: "tok"}); err != nil || u.Account != r.Global() {
		t.Fatal(u, err)
	}
	for _, c := range []Credentials{{}, {Token: "no"}, {User: "tok", Password: "tok"}} {
		if _, err := r.Authenticate(&c); err == nil {
			t.Errorf("%+v accepted", c)
		}
	}
}

func TestSystemUsersAlone(t *testing.T) {
	r := mustRegistry(t, &conf.Config{Accounts: []conf.Account{{Name: "$SYS", Users: []conf.User{{Username: "admin", Password: "p"}}}}})
	if u, err := r.Authenticate(&Credentials{}); err != nil || u.Account != r.Global() {
		t.Fatal(u, err)
	}
	if u, err := r.Authenticate(&Credentials{User: "admin", Password: "p"}); err != nil || u.Account != r.System() {
		t.Fatal(u, err)
	}
	if _, err := r.Authenticate(&Credentials{User: "admin", Password: "wrong"}); err == nil {
		t.Fatal("wrong password accepted")
	}
}

func TestUpdateKeepsIdentity(t *testing.T) {
	cfg := func(password string) *conf.Config {
		return &conf.Config{Accounts: []conf.Account{{Name: "A", Users: []conf.User{
			{Username: "same", Password: "x"}, {Username: "changed", Password: password},
		}}}}
	}
	r := mustRegistry(t, cfg("1"))
	a := r.Account("A")
	same, _ := r.Authenticate(&Credentials{User: "same", Password: "x"})
	changed, _ := r.Authenticate(&Credentials{User: "changed", Password: "1"})
	if err := r.Update(cfg("2")); err != nil {
		t.Fatal(err)
	}
	if r.Account("A") != a || !r.Valid(same) || r.Valid(changed) {
		t.Fatal("identity after an update")
	}
	twice := cfg("3")
	twice.Accounts = append(twice.Accounts, conf.Account{Name: "B", Users: []conf.User{{Username: "same"}}})
	if err := r.Update(twice); err == nil || r.Account("B") != nil || !r.Valid(same) {
		t.Fatal("a refused update changed something")
	}
}

func TestMappings(t *testing.T) {
	cfg, err := conf.Parse(`cluster { name: here, port: -1 }
		mappings { all: to }
		accounts { A { mappings {
			a: b, b: c
			"w.*.*": "m.$2.$1"
			"most.>": "x.>", "most.*": y, most.a: z
			part: [ {dest: p1, weight: 30%}, {dest: p2, weight: 30%} ]
			"loss.>": [ {dest: "loss.>", weight: 50%} ]
			near: [ {dest: n1, weight: 100%, cluster: here}, {dest: n2, weight: 100%} ]
			far: [ {dest: f1, weight: 100%, cluster: there} ]
			"dice.*": "d.{{random(2)}}"
		} } }`, "")
	if err != nil {
		t.Fatal(err)
	}
	r := mustRegistry(t, cfg)
	if to, ok := r.Global().MapSubject("all"); !ok || to != "to" {
		t.Errorf("all goes to %q, %v", to, ok)
	}
	a := r.Account("A")
	if !a.Maps([]byte("x")) || r.System().Maps([]byte("x")) {
		t.Error("which accounts map subjects")
	}
	for from, want := range map[string]string{
		"a": "b", "w.x.y": "m.y.x", "most.a": "z", "most.b": "y", "most.b.c": "x.b.c", "near": "n1", "far": "far", "other": "other",
	} {
		if to, ok := a.MapSubject(from); !ok || to != want {
			t.Errorf("%s goes to %q, %v", from, to, ok)
		}
	}
	for from, shares := range map[string]map[string]int{
		"part":   {"p1": 3000, "p2": 3000, "part": 4000},
		"loss.x": {"loss.x": 5000, "": 5000},
		"dice.x": {"d.0": 5000, "d.1": 5000},
	} {
		got := map[string]int{}
		for range 10000 {
			to, ok := a.MapSubject(from)
			if !ok {
				to = ""
			}
			got[to]++
		}
		for to, want := range shares {
			if got[to] < want-500 || got[to] > want+500 {
				t.Errorf("%s goes to %q %d times of 10,000", from, to, got[to])
			}
		}
	}
}

func TestImportsAreResolved(t *testing.T) {
	cfg, err := conf.Parse(`accounts {
		A { exports: [ {service: "s.>", response: chunked}, {service: "s.one", threshold: "5s"}, {stream: "n.*"} ] }
		B { imports: [
			{service: {account: A, subject: "s.one"}, to: one, share: true}
			{service: {account: A, subject: "s.x.*"}, to: "x.*"}
			{stream: {account: A, subject: "n.*"}, prefix: p}
		] }
	}`, "")
	if err != nil {
		t.Fatal(err)
	}
	r := mustRegistry(t, cfg)
	a, services, streams := r.Account("A"), r.Account("B").ServiceImports(), r.Account("B").StreamImports()
	if len(services) != 2 || len(streams) != 1 || len(a.Exports()) != 3 {
		t.Fatalf("%d services, %d streams, %d exports", len(services), len(streams), len(a.Exports()))
	}
	one, many := services[0], services[1]
	if one.From != a || !one.Share || one.Many || one.Threshold != 5*time.Second || one.Mapping.From() != "one" || one.Mapping.To() != "s.one" {
		t.Errorf("%+v", one)
	}
	if many.Share || !many.Many || many.Threshold != conf.DefaultThreshold {
		t.Errorf("%+v", many)
	}
	if to, ok := streams[0].Mapping.Apply("n.k"); !ok || to != "p.n.k" || streams[0].From != a {
		t.Errorf("the stream comes as %q", to)
	}
}
