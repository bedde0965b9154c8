package conformance

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"weir/conformance/procs"
)

// refusalTime is how long a server may take to see that it cannot start.
const refusalTime = 20 * time.Second

// refused runs a server that must not start and returns what it said.
func refused(t *testing.T, configFile string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), refusalTime)
	defer cancel()
	out, err := exec.CommandContext(ctx, bin, "-c", configFile).CombinedOutput()
	text := string(out)
	var exit *exec.ExitError
	switch {
	case ctx.Err() != nil:
		t.Fatalf("still runs after %v: %s", refusalTime, text)
	case !errors.As(err, &exit):
		t.Fatalf("ended with %v, want a status: %s", err, text)
	case exit.ExitCode() <= 0:
		t.Fatalf("ended with %v: %s", exit, text)
	case strings.Contains(text, "goroutine ") || strings.Contains(text, "panic"):
		t.Fatalf("crashed: %s", text)
	}
	return text
}

func wantAll(t *testing.T, text string, parts ...string) {
	t.Helper()
	for _, part := range parts {
		if !strings.Contains(text, part) {
			t.Errorf("error does not name %q: %s", part, text)
		}
	}
}

func TestConfigurationIsRefused(t *testing.T) {
	for _, test := range []struct {
		name, text string
		want       []string // besides the file
	}{
		{"wrong type", "server_name: a\nport: \"many\"\n", []string{":2", "port"}},
		{"wrong type in a block", "jetstream {\n  store_dir: /tmp/x\n  max_file: [1]\n}\n", []string{":3", "max_file"}},
		{"block for a value", "max_payload { a: 1 }\n", []string{":1", "max_payload"}},
		{"value for a block", "accounts: 7\n", []string{":1", "accounts"}},
		{"unknown key", "port: -1\nprot: 4222\n", []string{":2", "prot"}},
		{"unknown key in a block", "cluster {\n  nmae: c\n}\n", []string{":2", "nmae"}},
		{"open block", "cluster {\n  name: c\n", nil},
		{"open string", "server_name: \"abc\n", nil},
		{"port out of range", "port: 70000\n", []string{"port", "70000"}},
		{"route that is no address", "server_name: a\ncluster {\n  name: c\n  port: -1\n  routes: [\"nats://%zz\"]\n}\n", []string{":5"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			file := filepath.Join(t.TempDir(), "bad.conf")
			if err := os.WriteFile(file, []byte(test.text), 0o644); err != nil {
				t.Fatal(err)
			}
			text := refused(t, file)
			wantAll(t, text, filepath.Base(file))
			wantAll(t, text, test.want...)
		})
	}
	t.Run("missing file", func(t *testing.T) {
		wantAll(t, refused(t, filepath.Join(t.TempDir(), "none.conf")), "none.conf")
	})
}

func TestStoreDirectoryIsRefused(t *testing.T) {
	one, err := procs.New(procs.Spec{Bin: bin, Dir: t.TempDir(), Nodes: 1})
	if err != nil {
		t.Fatal(err)
	}
	n := one.Nodes[0]
	t.Run("below a file", func(t *testing.T) {
		if err := os.WriteFile(n.StoreDir(), nil, 0o644); err != nil {
			t.Fatal(err)
		}
		wantAll(t, refused(t, n.ConfigFile()), n.StoreDir(), "not a directory")
		if err := os.Remove(n.StoreDir()); err != nil {
			t.Fatal(err)
		}
	})
	t.Run("not writable", func(t *testing.T) {
		if os.Geteuid() == 0 {
			t.Skip("everything is writable for root")
		}
		if err := os.Mkdir(n.StoreDir(), 0o500); err != nil {
			t.Fatal(err)
		}
		wantAll(t, refused(t, n.ConfigFile()), n.StoreDir(), "permission denied")
	})
	t.Run("where nothing can be made", func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "proc.conf")
		if err := os.WriteFile(file, []byte("port: -1\njetstream { store_dir: /proc/weir }\n"), 0o644); err != nil {
			t.Fatal(err)
		}
		wantAll(t, refused(t, file), "/proc/weir")
	})
}

func TestSecondServerIsRefused(t *testing.T) {
	ctx := trialContext(t)
	first := startCluster(ctx, t, 1, "").Nodes[0]
	second, err := procs.New(procs.Spec{Bin: bin, Dir: t.TempDir(), Nodes: 1})
	if err != nil {
		t.Fatal(err)
	}
	original, err := os.ReadFile(second.Nodes[0].ConfigFile())
	if err != nil {
		t.Fatal(err)
	}
	with := func(old, replacement string) string {
		t.Helper()
		text := strings.ReplaceAll(string(original), old, replacement)
		if text == string(original) {
			t.Fatalf("no %s in %s", old, text)
		}
		if err := os.WriteFile(second.Nodes[0].ConfigFile(), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return refused(t, second.Nodes[0].ConfigFile())
	}
	t.Run("same store directory", func(t *testing.T) {
		wantAll(t, with(second.Nodes[0].StoreDir(), first.StoreDir()), first.StoreDir(), "in use")
	})
	t.Run("same client port", func(t *testing.T) {
		wantAll(t, with(address(second.Nodes[0].Client), address(first.Client)), address(first.Client), "in use")
	})
	t.Run("same monitoring port", func(t *testing.T) {
		wantAll(t, with(address(second.Nodes[0].Monitor), address(first.Monitor)), address(first.Monitor), "in use")
	})
	if err := first.Ready(ctx); err != nil {
		t.Fatal(err)
	}
}
