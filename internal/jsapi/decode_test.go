package jsapi

import (
	"testing"

	"weir/internal/api"
	"weir/internal/apierr"
)

// TestDecode compares with what the established server says of the same bodies.
func TestDecode(t *testing.T) {
	for body, want := range map[string]string{
		`{"name":"W"}`:          "",
		` {"name":"W"} `:        "",
		`{"name":`:              "invalid JSON: unexpected EOF",
		`{"name":}`:             "invalid JSON: invalid character '}' looking for beginning of value at offset 9",
		`{"name":"W"]`:          "invalid JSON: invalid character ']' after object key:value pair at offset 12",
		`{"name":"X","bad":1}`:  `invalid JSON: json: unknown field "bad"`,
		`{"name":"W"} x`:        "invalid JSON: invalid character 'x' looking for beginning of value at offset 14",
		`{"name":"W"}{}`:        "invalid JSON: more than one document at offset 14",
		`{"max_msgs":"foo"}`:    "invalid JSON: json: cannot unmarshal string into Go struct field StreamCreateRequest.StreamConfig.max_msgs of type int64",
		`{"pedantic":true}`:     "",
		`{"config":{"bad":[]}}`: `invalid JSON: json: unknown field "config"`,
	} {
		var req api.StreamCreateRequest
		check(t, body, decode([]byte(body), &req), want)
	}
}

func TestEnums(t *testing.T) {
	check(t, "storage", checkStreamEnums(&api.StreamConfig{Storage: "foo"}), `invalid JSON: can not unmarshal "\"foo\""`)
	check(t, "good", checkStreamEnums(&api.StreamConfig{Storage: "memory", Retention: "workqueue", Discard: "new", Compression: "s2"}), "")
	check(t, "ack", checkConsumerEnums(&api.ConsumerConfig{AckPolicy: "foo"}), `invalid JSON: can not unmarshal "\"foo\""`)
	check(t, "none", checkConsumerEnums(&api.ConsumerConfig{}), "")
}

func check(t *testing.T, what string, err *apierr.Error, want string) {
	t.Helper()
	got := ""
	if err != nil {
		got = err.Description
	}
	if got != want {
		t.Errorf("%s: %q, want %q", what, got, want)
	}
}

func TestOptionalBodies(t *testing.T) {
	var req api.StreamNamesRequest
	for _, body := range []string{"", "x", "  ", "5", `"a"`} {
		if err := decodeOptional([]byte(body), &req); err != nil {
			t.Errorf("%q: %v", body, err)
		}
	}
	if decodeOptional([]byte(` {"foo":1}`), &req) == nil {
		t.Error("an unknown field passed")
	}
	for body, want := range map[string]bool{"": true, " ": true, "{}": true, " { } ": true, "xx": false, `{"a":1}`: false, "[]": false} {
		if isEmpty([]byte(body)) != want {
			t.Errorf("isEmpty(%q) = %t", body, !want)
		}
	}
}

func TestPage(t *testing.T) {
	for _, c := range []struct{ offset, total, limit, from, to int }{
		{0, 0, 10, 0, 0}, {-1, 5, 10, 0, 5}, {3, 5, 10, 3, 5}, {5, 5, 10, 5, 5}, {99, 5, 10, 5, 5}, {10, 25, 10, 10, 20},
	} {
		from, to, p := page(c.offset, c.total, c.limit)
		if from != c.from || to != c.to || p != (api.Paged{Total: c.total, Offset: c.from, Limit: c.limit}) {
			t.Errorf("page(%d, %d) = %d, %d, %+v", c.offset, c.total, from, to, p)
		}
	}
}

func TestConsumerNames(t *testing.T) {
	for _, c := range []struct {
		subject   string
		cfg       api.ConsumerConfig
		want      string // name
		wantError string
	}{
		{"CREATE.S.C", api.ConsumerConfig{Name: "other"}, "C", ""},
		{"CREATE.S.C", api.ConsumerConfig{}, "C", ""},
		{"CREATE.S.C", api.ConsumerConfig{Durable: "C"}, "C", ""},
		{"CREATE.S.C", api.ConsumerConfig{Durable: "D"}, "", apierr.JSConsumerDurableNameNotMatchSubjectErr.Description},
		{"CREATE.S", api.ConsumerConfig{Durable: "D"}, "", apierr.JSConsumerEphemeralWithDurableNameErr.Description},
		{"CREATE.S", api.ConsumerConfig{Name: "N"}, "N", ""},
		{"CREATE.S.a*b", api.ConsumerConfig{}, "", `consumer name can not contain '.', '*', '>', '\', '/'`},
	} {
		_, args := find("$JS.API.CONSUMER." + c.subject)
		err := (&call{args: args}).nameFromSubject(&c.cfg)
		check(t, c.subject, err, c.wantError)
		if err == nil && c.cfg.Name != c.want {
			t.Errorf("%s: name %q, want %q", c.subject, c.cfg.Name, c.want)
		}
	}
	var ephemeral api.ConsumerConfig
	if err := new(call).nameFromSubject(&ephemeral); err != nil || len(ephemeral.Name) != 8 {
		t.Errorf("ephemeral %q, %v", ephemeral.Name, err)
	}
	check(t, "filters", filterFromSubject(&api.ConsumerConfig{FilterSubjects: []string{"a"}}, "a"), apierr.JSConsumerMultipleFiltersNotAllowed.Description)
	check(t, "filter", filterFromSubject(&api.ConsumerConfig{}, "a"), apierr.JSConsumerCreateFilterSubjectMismatchErr.Description)
	check(t, "same", filterFromSubject(&api.ConsumerConfig{FilterSubject: "a.>"}, "a.>"), "")
}

func TestConsumerReplicas(t *testing.T) {
	limits, interest := &api.StreamConfig{Replicas: 3, Retention: api.LimitsRetention}, &api.StreamConfig{Replicas: 3, Retention: api.InterestRetention}
	for _, c := range []struct {
		cfg  api.ConsumerConfig
		of   *api.StreamConfig
		want int
	}{
		{api.ConsumerConfig{Durable: "D"}, limits, 3},
		{api.ConsumerConfig{Durable: "D", Replicas: 1}, limits, 1},
		{api.ConsumerConfig{Durable: "D", Replicas: 5}, limits, 3},
		{api.ConsumerConfig{Name: "E"}, limits, 1},
		{api.ConsumerConfig{Name: "E"}, interest, 3},
	} {
		if got := consumerReplicas(&c.cfg, c.of); got != c.want {
			t.Errorf("%+v: %d, want %d", c.cfg, got, c.want)
		}
	}
}
