package monitor

import (
	"fmt"
	"html"
	"net/http"
	"strings"
)

// serveRoot is the page of links.
func (m *Monitor) serveRoot(w http.ResponseWriter, _ *http.Request) {
	m.count("/")
	var b strings.Builder
	fmt.Fprintf(&b, "<!DOCTYPE html>\n<html lang=\"en\">\n<head><title>%s</title></head>\n<body>\n<h1>Weir</h1>\n<p>%s, version %s</p>\n<ul>\n",
		html.EscapeString(m.source.ServerName), html.EscapeString(m.source.ServerName), html.EscapeString(m.source.Version))
	for _, e := range m.endpoints() {
		if e.exists && e.label != "" {
			fmt.Fprintf(&b, "<li><a href=\".%s\">%s</a></li>\n", e.path, e.label)
		}
	}
	b.WriteString("</ul>\n</body>\n</html>\n")
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	_, _ = w.Write([]byte(b.String())) // the client may be gone
}
