package monitor

import (
	"net/url"
	"os"
	"runtime"
)

// The Go process that the server runs in, for whoever looks for a fault in it.

// Expvarz is the document of /debug/vars.
type Expvarz struct {
	Memstats runtime.MemStats `json:"memstats"`
	Cmdline  []string         `json:"cmdline"`
}

// Expvarz describes the process. Reading the statistics stops it for a moment.
func (m *Monitor) Expvarz() *Expvarz {
	z := &Expvarz{Cmdline: os.Args}
	runtime.ReadMemStats(&z.Memstats)
	return z
}

// IPQueuesz is the queues between goroutines that something waits in, by name. The
// established server has hundreds of them; here there are none to show.
func (m *Monitor) IPQueuesz() map[string]struct{} { return map[string]struct{}{} }

func (m *Monitor) serveExpvarz(url.Values) (*reply, error)   { return ok(m.Expvarz()), nil }
func (m *Monitor) serveIPQueuesz(url.Values) (*reply, error) { return ok(m.IPQueuesz()), nil }
