package conf

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"
)

// TestTranscripts runs the files of testdata. Commands:
//
//	file name=NAME    stores the input as a file for include
//	env               sets variables, one NAME=VALUE a line
//	parse             parses the input as w.conf and prints what differs from
//	                  the defaults, or every fault
func TestTranscripts(t *testing.T) {
	datadriven.Walk(t, "testdata/transcripts", func(t *testing.T, path string) {
		files := map[string]string{}
		env := map[string]string{}
		src := source{
			readFile: func(path string) ([]byte, error) {
				if text, ok := files[filepath.ToSlash(path)]; ok {
					return []byte(text), nil
				}
				return nil, os.ErrNotExist
			},
			lookupEnv: func(name string) (string, bool) { v, ok := env[name]; return v, ok },
		}
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			switch d.Cmd {
			case "file":
				var name string
				d.ScanArgs(t, "name", &name)
				files[name] = d.Input
				return ""
			case "env":
				for _, line := range strings.Split(d.Input, "\n") {
					name, value, _ := strings.Cut(line, "=")
					env[name] = value
				}
				return ""
			case "parse":
				return transcript(parseConfig(src, d.Input, "w.conf", nil))
			}
			t.Fatalf("unknown command %q", d.Cmd)
			return ""
		})
	})
}

func transcript(c *Config, err error) string {
	if err != nil {
		return err.Error() + "\n"
	}
	var sb strings.Builder
	for _, w := range c.Warnings {
		fmt.Fprintf(&sb, "warning: %s\n", strings.ReplaceAll(w.String(), os.TempDir(), "TMP"))
	}
	for i, r := range c.Cluster.Routes {
		fmt.Fprintf(&sb, "route %d: %s\n", i, r)
	}
	c.File, c.Digest, c.Warnings, c.Cluster.Routes = "", "", nil, nil
	got, base := flat(c), flat(Default())
	var keys []string
	for k := range got {
		if got[k] != base[k] {
			keys = append(keys, k)
		}
	}
	sort.Strings(keys)
	for _, k := range keys {
		fmt.Fprintf(&sb, "%s = %s\n", k, got[k])
	}
	if sb.Len() == 0 {
		return "as default\n"
	}
	return sb.String()
}

// flat gives the leaves of v by path.
func flat(v any) map[string]string {
	text, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	var tree any
	if err := json.Unmarshal(text, &tree); err != nil {
		panic(err)
	}
	leaves := map[string]string{}
	var walk func(path string, v any)
	walk = func(path string, v any) {
		switch v := v.(type) {
		case map[string]any:
			for k, e := range v {
				walk(path+"."+k, e)
			}
		case []any:
			for i, e := range v {
				walk(fmt.Sprintf("%s[%d]", path, i), e)
			}
		default:
			text, _ := json.Marshal(v)
			leaves[strings.TrimPrefix(path, ".")] = string(text)
		}
	}
	walk("", tree)
	return leaves
}

// TestKeysAreKnown compares the keys that Weir handles with nats-server's table:
// a handler under a name that is not there would never be called.
func TestKeysAreKnown(t *testing.T) {
	check := func(block string, keys []string) {
		for _, k := range keys {
			if canonicalNames[block][k] != k {
				t.Errorf("block %s: %q is no canonical key of options.csv", block, k)
			}
		}
	}
	check(blockTop, keysOf(topSchema()))
	check(blockAuthorization, keysOf(authorizationSchema()))
	check(blockUser, keysOf(userSchema()))
	check(blockPermissions, keysOf(permissionsSchema()))
	check(blockAccount, keysOf(accountSchema()))
	check(blockAccountLimits, keysOf(accountLimitsSchema()))
	check(blockAccountJetStream, keysOf(accountJetStreamSchema()))
	check(blockExports, keysOf(exportSchema()))
	check(blockImports, keysOf(importSchema()))
	check(blockMappings, keysOf(destinationSchema()))
	check(blockCluster, keysOf(clusterSchema()))
	check(blockJetStream, keysOf(jetStreamSchema()))
	check(blockJetStreamLimits, keysOf(jetStreamLimitsSchema()))
	check(blockBatchLimits, keysOf(batchLimitsSchema()))
}

func keysOf[T any](s schema[T]) []string {
	var keys []string
	for k := range s.keys {
		keys = append(keys, k)
	}
	return keys
}

func TestDigestIsOfMeaning(t *testing.T) {
	digest := func(text string) string {
		c, err := Parse(text, "w.conf")
		if err != nil {
			t.Fatal(err)
		}
		return c.Digest
	}
	a := digest("port: 4000\nserver_name: a # note\nmax_payload: 1KB")
	b := digest(`{"server_name": "a", "max_payload": 1024, "port": 4000}`)
	if a != b {
		t.Errorf("equal meaning, unequal digests: %s %s", a, b)
	}
	if c := digest("port: 4001\nserver_name: a"); c == a {
		t.Error("unequal meaning, equal digests")
	}
}

func TestLoad(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	write("users.conf", "users: [{user: a, password: b}]")
	path := write("main.conf", "authorization { include ./users.conf }\nserver_name: x")
	c, err := Load(path, func(c *Config) { c.Port = 99 })
	if err != nil {
		t.Fatal(err)
	}
	if c.File != path || c.Port != 99 || len(c.Authorization.Users) != 1 {
		t.Errorf("got %+v", c)
	}
	if _, err := Load(filepath.Join(dir, "absent")); err == nil {
		t.Error("an absent file gave no error")
	}
	if _, err := Load(path, func(c *Config) { c.ServerName = "a b" }); err == nil {
		t.Error("an override is not validated")
	}
}

func FuzzParse(f *testing.F) {
	src := source{
		readFile:  func(string) ([]byte, error) { return []byte("include x\na: $a"), nil },
		lookupEnv: func(name string) (string, bool) { return "[" + name + "]", name != "none" },
	}
	for _, seed := range []string{
		"port: 4222\nhost = 'x' // c\ncluster { routes: [ nats://a:1, \"b\" ] }",
		"{\"a\": {\"b\": [1, 2.5, true]}}", "a (\n x\n)\n", "a $b; c: 12MB", "include x", "a: \"\\x41\\t\"",
		"A: 5\nport: $A\naccounts { A { users: [{user: u, password: $2a$11$x}] } }",
		"mappings { a: b, \"c.*\": [ {dest: \"d.$1\", weight: 50%}, {dest: e, weight: 20, cluster: c} ] }",
		"accounts { A { exports: [{service: a.>, response: stream}, {stream: b.*}] }, B { imports: [{service: {account: A, subject: a.*.*}, to: x.$2.$1}, {stream: {account: A, subject: b.c}, prefix: p}] } }",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		c, err := parseConfig(src, text, "w.conf", nil)
		if (c == nil) == (err == nil) {
			t.Fatalf("config %v, error %v", c, err)
		}
	})
}
