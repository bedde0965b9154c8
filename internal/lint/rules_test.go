package lint

import (
	"slices"
	"strings"
)

// imports says for each package which packages of this module it may import,
// besides its own parent and children. A package inside another one has the
// other's rule unless it has one of its own. The order is that of the
// architecture: imports point up.
var imports = map[string][]string{
	"internal/base":     {},
	"internal/msg":      {"base"},
	"internal/subject":  {"base"},
	"internal/wire":     {"base"},
	"internal/apierr":   {"base"},
	"internal/api":      {"base", "apierr"},
	"internal/backup":   {"subject", "api", "msg"},
	"internal/logging":  {"base"},
	"internal/procfile": {"base"},
	"internal/overlay":  {},
	"internal/conf":     {"base", "subject"},
	"internal/account":  {"base", "subject", "conf"},
	"internal/router":   {"base", "subject", "wire", "account"},
	"internal/conn":     {"base", "subject", "conf", "wire", "account", "router"},
	"internal/cluster":  {"base", "subject", "wire", "account", "router"},
	"internal/raftlog":  {"base"},
	"internal/rafthost": {"base", "raftlog"},
	"internal/msgstore": {"base", "subject", "api", "msg"},
	"internal/stream":   {"base", "subject", "apierr", "api", "msg"},
	"internal/consumer": {"base", "subject", "apierr", "api", "msg"},
	"internal/machine":  {"base", "subject", "apierr", "api", "msg", "stream", "consumer"},
	"internal/meta":     {"base", "subject", "apierr", "api"},
	"internal/runner":   {"base", "subject", "apierr", "api", "msg", "wire", "consumer"},
	"internal/jetstream": {"base", "subject", "wire", "apierr", "api", "msg", "conf", "account", "router", "cluster",
		"raftlog", "rafthost", "msgstore", "backup", "stream", "consumer", "machine", "meta", "runner"},
	"internal/jsapi": {"base", "subject", "wire", "apierr", "api", "msg", "conf", "account", "router", "meta",
		"backup", "stream", "consumer", "machine", "rafthost", "runner", "msgstore", "jetstream"},
	"internal/monitor": {"base", "conf", "api", "apierr"},
	"internal/server":  {anything},
	"internal/sim":     {anything},
	"internal/lint":    {},
	"cmd/weir":         {"base", "conf", "logging", "msgstore", "overlay", "procfile", "raftlog", "server"},
	"":                 {"base", "conf", "logging", "server"},
}

// anything is every package but those of imports that nothing may import.
const anything = "*"

// unimported are the packages that no other one imports, except for tests.
var unimported = []string{"internal/sim", "internal/lint", "cmd/weir"}

// pure are the packages that hold replicated state: the same entries give the
// same state on every node, so they have no goroutine, lock, clock, randomness,
// file or socket of their own.
var pure = []string{"internal/stream", "internal/consumer", "internal/machine", "internal/meta"}

// impure are what a pure package may not import, nor anything below it.
var impure = []string{"net", "os", "sync", "context", "runtime", "testing", "syscall", "io/fs", "crypto/rand",
	"github.com/cockroachdb/pebble", "go.etcd.io/raft"}

// restricted are the modules that only some packages may import.
var restricted = []struct {
	module string
	except string // a package below module that all may import
	users  []string
}{
	{"github.com/cockroachdb/pebble/v2", "github.com/cockroachdb/pebble/v2/vfs", []string{"internal/msgstore"}},
	{"go.etcd.io/raft/v3", "", []string{"internal/raftlog", "internal/rafthost"}},
	{"github.com/nats-io/nats.go", "", []string{"internal/sim"}},
}

// banned are calls that only some places may make: what they give comes from
// outside everywhere else, so that tests control it.
var banned = []struct {
	pkg    string
	names  []string // nil is every function but those of except
	except []string
	users  []string // packages, or files
	why    string
}{
	{
		pkg:   "time",
		names: []string{"Now", "Since", "Until", "Sleep", "After", "AfterFunc", "NewTimer", "NewTicker", "Tick"},
		users: []string{"internal/base"},
		why:   "take a base.Clock",
	},
	{
		pkg:    "math/rand",
		except: []string{"New", "NewSource", "NewZipf", "Rand", "Source", "Source64", "Zipf"},
		why:    "take a *rand.Rand",
	},
	{
		pkg:    "math/rand/v2",
		except: []string{"New", "NewPCG", "NewChaCha8", "NewZipf", "Rand", "Source", "PCG", "ChaCha8", "Zipf"},
		why:    "take a *rand.Rand",
	},
	{
		pkg: "os",
		names: []string{"Open", "OpenFile", "Create", "CreateTemp", "ReadFile", "WriteFile", "ReadDir", "Remove",
			"RemoveAll", "Rename", "Mkdir", "MkdirAll", "MkdirTemp", "Stat", "Lstat", "Truncate", "Chmod", "Link",
			"Symlink", "DirFS", "OpenRoot"},
		users: []string{"internal/conf/load.go", "internal/logging", "internal/procfile", "internal/apierr/gen", "cmd/weir"},
		why:   "take a vfs.FS",
	},
	{
		pkg:   "fmt",
		names: []string{"Print", "Printf", "Println"},
		why:   "take a base.Logger or an io.Writer",
	},
	{
		pkg:   "log",
		names: []string{"Print", "Printf", "Println", "Fatal", "Fatalf", "Fatalln", "Panic", "Panicf", "Panicln"},
		users: []string{"internal/apierr/gen"},
		why:   "take a base.Logger",
	},
}

const (
	maxFunctionLines = 70
	maxFileLines     = 600
)

// oversized are the functions ("file.go: name") and files that are longer, each
// with the reason.
var oversized = map[string]string{}

// ruleOf finds the rule for package dir: its own or that of the package that it
// is in.
func ruleOf(dir string) (allowed []string, ok bool) {
	for {
		if allowed, ok := imports[dir]; ok {
			return allowed, true
		}
		i := strings.LastIndexByte(dir, '/')
		if i < 0 {
			return nil, false
		}
		dir = dir[:i]
	}
}

// within says that path is root or below it.
func within(path, root string) bool {
	return path == root || strings.HasPrefix(path, root+"/")
}

func withinAny(path string, roots []string) bool {
	return slices.ContainsFunc(roots, func(root string) bool { return within(path, root) })
}

// mayImport says whether the package at dir may import the one at target, both
// relative to the module.
func mayImport(dir, target string) bool {
	if within(dir, target) && target != "" || within(target, dir) && dir != "" {
		return true
	}
	if withinAny(target, unimported) {
		return false
	}
	allowed, _ := ruleOf(dir)
	return slices.Contains(allowed, anything) ||
		slices.ContainsFunc(allowed, func(name string) bool { return within(target, "internal/"+name) })
}
