package server

import (
	"bytes"
	"errors"
	"fmt"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// TestStoresOfDomain uses key-value and object stores by the name of their domain, which the client has in front of
// the values' subjects too, from the account of the streams and from one that imports the domain's API.
func TestStoresOfDomain(t *testing.T) {
	c := &testCluster{t: t, servers: make([]*Server, 1), configs: []string{fmt.Sprintf(`
		listen: "127.0.0.1:-1"
		jetstream { store_dir: %q, domain: hub }
		accounts {
			A { jetstream: enabled, users: [ { user: a, password: a } ], exports: [ { service: "$JS.hub.API.>", response: stream } ] }
			B { users: [ { user: b, password: b } ], imports: [ { service: { account: A, subject: "$JS.hub.API.>" } } ] }
		}`, t.TempDir())}}
	c.start(0)
	t.Cleanup(c.shutdown)
	c.ready(0)
	for _, user := range []string{"a", "b"} {
		nc := c.connectAs(0, user)
		js, err := jetstream.NewWithDomain(nc, "hub")
		if err != nil {
			t.Fatal(err)
		}
		kv, err := js.CreateKeyValue(t.Context(), jetstream.KeyValueConfig{Bucket: user, History: 2})
		if err != nil {
			t.Fatal(err)
		}
		for want := range uint64(2) {
			if rev, err := kv.Put(t.Context(), "k.x", []byte("v")); rev != want+1 || err != nil {
				t.Fatalf("put by %s: %d, %v", user, rev, err)
			}
		}
		if _, err := kv.Update(t.Context(), "k.x", nil, 1); !errors.Is(err, jetstream.ErrKeyExists) {
			t.Errorf("update of an old revision by %s: %v", user, err)
		}
		if e, err := kv.Get(t.Context(), "k.x"); err != nil || e.Revision() != 2 || string(e.Value()) != "v" {
			t.Errorf("get by %s: %v, %v", user, e, err)
		}
		if err := kv.Delete(t.Context(), "k.x"); err != nil {
			t.Error(err)
		}
		for _, none := range []string{"$JS.hub.API.NONSENSE", "$JS.hub.API.$O.x"} {
			if _, err := nc.Request(none, nil, patience); !errors.Is(err, nats.ErrNoResponders) {
				t.Errorf("%s: %v", none, err)
			}
		}
	}
	js, err := jetstream.NewWithDomain(c.connectAs(0, "a"), "hub")
	if err != nil {
		t.Fatal(err)
	}
	objects, err := js.CreateObjectStore(t.Context(), jetstream.ObjectStoreConfig{Bucket: "o"})
	if err != nil {
		t.Fatal(err)
	}
	want := bytes.Repeat([]byte("o"), 300_000)
	if _, err := objects.PutBytes(t.Context(), "x", want); err != nil {
		t.Fatal(err)
	}
	if got, err := objects.GetBytes(t.Context(), "x"); err != nil || !bytes.Equal(got, want) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
}
