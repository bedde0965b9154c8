package lint

import "testing"

func TestMayImport(t *testing.T) {
	for _, c := range []struct {
		dir, target string
		want        bool
	}{
		{"internal/stream", "internal/base", true},
		{"internal/stream", "internal/consumer", false},
		{"internal/base", "internal/subject", false},
		{"internal/stream/storetest", "internal/stream", true},
		{"internal/apierr", "internal/apierr/gen", true},
		{"internal/jetstream", "internal/conn", false},
		{"internal/server", "internal/conn", true},
		{"internal/server", "internal/sim", false},
		{"internal/sim", "internal/server", true},
		{"internal/conf", "internal/configure", false},
		{"internal/server", "cmd/weir", false},
		{"", "internal/server", true},
		{"", "internal/router", false},
	} {
		if got := mayImport(c.dir, c.target); got != c.want {
			t.Errorf("mayImport(%q, %q) = %v", c.dir, c.target, got)
		}
	}
}

func TestImportTableNamesPackages(t *testing.T) {
	for dir, allowed := range imports {
		for _, name := range allowed {
			if _, ok := imports["internal/"+name]; !ok && name != anything {
				t.Errorf("%s may import %q, which has no rule of its own", dir, name)
			}
		}
	}
}
