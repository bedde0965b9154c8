package monitor

import (
	"net/http"
	"net/url"
)

// HealthzOptions limit what is checked.
type HealthzOptions struct {
	JSEnabledOnly bool   `json:"js-enabled-only,omitempty"`
	JSServerOnly  bool   `json:"js-server-only,omitempty"`
	JSMetaOnly    bool   `json:"js-meta-only,omitempty"`
	Account       string `json:"account,omitempty"`
	Stream        string `json:"stream,omitempty"`
	Consumer      string `json:"consumer,omitempty"`
	Details       bool   `json:"details,omitempty"`
}

// Types of health errors.
const (
	HealthConnection = "CONNECTION"
	HealthBadRequest = "BAD_REQUEST"
	HealthJetStream  = "JETSTREAM"
	HealthAccount    = "ACCOUNT"
	HealthStream     = "STREAM"
	HealthConsumer   = "CONSUMER"
)

// HealthError is one thing that is wrong.
type HealthError struct {
	Type     string `json:"type"`
	Account  string `json:"account,omitempty"`
	Stream   string `json:"stream,omitempty"`
	Consumer string `json:"consumer,omitempty"`
	Error    string `json:"error,omitempty"`
}

// Health is what a check found: no errors is healthy. Without details only the
// first one is told, so a check may stop there.
type Health struct {
	// Status is the HTTP status: 200, 404 for something that does not exist,
	// 500 for listeners that are not up, else 503.
	Status int
	Errors []HealthError
}

// Healthz is the document of /healthz. The code is told on the system account only.
type Healthz struct {
	Status     string        `json:"status"`
	StatusCode int           `json:"status_code,omitempty"`
	Error      string        `json:"error,omitempty"`
	Errors     []HealthError `json:"errors,omitempty"`
}

func (m *Monitor) serveHealthz(values url.Values) (*reply, error) {
	q := &query{values: values}
	opts := HealthzOptions{
		JSEnabledOnly: q.flag("js-enabled-only"), JSServerOnly: q.flag("js-server-only"), JSMetaOnly: q.flag("js-meta-only"),
		Account: q.text("account"), Stream: q.text("stream"), Consumer: q.text("consumer"), Details: q.flag("details"),
	}
	opts.JSEnabledOnly = q.flag("js-enabled") || opts.JSEnabledOnly // the old name
	if q.err != nil {
		return nil, q.err
	}
	doc := m.Healthz(opts)
	answer := &reply{status: doc.StatusCode, doc: doc, compact: true}
	doc.StatusCode = 0
	return answer, nil
}

// Healthz is the document of /healthz with its code.
func (m *Monitor) Healthz(opts HealthzOptions) *Healthz {
	health := opts.misfit()
	if health.Errors == nil {
		health = m.source.Health(opts)
	}
	z := &Healthz{Status: "ok", StatusCode: health.Status}
	if len(health.Errors) == 0 {
		z.StatusCode = http.StatusOK
		return z
	}
	z.Status = "unavailable"
	if opts.Details {
		z.Status, z.Errors = "error", health.Errors
		return z
	}
	if health.Status == http.StatusBadRequest || health.Status == http.StatusInternalServerError {
		z.Status = "error"
	}
	z.Error = health.Errors[0].Error
	return z
}

// misfit judges options that need each other.
func (opts *HealthzOptions) misfit() Health {
	var text string
	switch {
	case opts.Account == "" && opts.Stream != "":
		text = `"account" must not be empty when checking stream health`
	case opts.Stream == "" && opts.Consumer != "":
		text = `"stream" must not be empty when checking consumer health`
	default:
		return Health{}
	}
	return Health{http.StatusBadRequest, []HealthError{{Type: HealthBadRequest, Error: text}}}
}
