package conn

import (
	"testing"

	"github.com/nats-io/nats.go"

	"weir/internal/conf"
)

// TestMappedSubjects: what a client publishes goes where the account maps it to,
// and permissions are those of that subject.
func TestMappedSubjects(t *testing.T) {
	cfg, err := conf.Parse(`accounts { A {
		users: [ { user: u, password: p, permissions: { publish: { deny: [from.denied, to.denied] } } } ]
		mappings { "from.*": "to.$1", from.denied: to.allowed, gone: [ { dest: gone, weight: 0 } ] }
	} }`, "")
	if err != nil {
		t.Fatal(err)
	}
	cfg.Accounts[0].Mappings = append(cfg.Accounts[0].Mappings, conf.Mapping{
		Subject: "other.*", Destinations: []conf.Destination{{Subject: "to.denied", Weight: 100}},
	})
	h := startServer(t, cfg, nil)
	refused := make(chan error, 10)
	nc := h.connect(t, nats.UserInfo("u", "p"), nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { refused <- err }))
	sub := must[*nats.Subscription](t)(nc.SubscribeSync(">"))
	for _, subject := range []string{"from.a", "from.denied", "gone", "other.x", "plain"} {
		if err := nc.Publish(subject, nil); err != nil {
			t.Fatal(err)
		}
	}
	for _, want := range []string{"to.a", "to.allowed", "plain"} {
		if m := must[*nats.Msg](t)(sub.NextMsg(patience)); m.Subject != want {
			t.Fatalf("got %s, want %s", m.Subject, want)
		}
	}
	if err := <-refused; err == nil {
		t.Fatal("the mapping lets a client publish what it may not")
	}
}
