package conf

import (
	"slices"
	"strings"
	"time"

	"weir/internal/subject"
)

// Export is a subject that an account offers to others.
type Export struct {
	// Service: others may send requests to the subject. Without, it is a stream,
	// whose messages they may receive.
	Service bool
	Subject string
	// Accounts are those that may import it; empty: all.
	Accounts []string
	// TokenPosition counts from 1 and is that of a token which has to be the name
	// of the account that imports; 0 is none.
	TokenPosition int
	// Response is how a service answers a request, and Threshold how long each
	// answer may take, since the request or the answer before.
	Response  Response
	Threshold time.Duration

	pos Pos
}

// Response is how many answers a service gives to a request.
type Response string

// An empty message ends the answers of the two that may have many.
const (
	SingleResponse  Response = "single"
	StreamResponse  Response = "stream"
	ChunkedResponse Response = "chunked"
)

// DefaultThreshold is how long answers of a service may take.
const DefaultThreshold = 2 * time.Minute

// Import is what an account uses of another one's exports.
type Import struct {
	Service bool // as in Export
	// Account is the one that exports, Subject the subject there and To the one
	// in the importing account. One of the two may name the wildcards of the
	// other, as $1.
	Account string
	Subject string
	To      string
	// Share has a service told who asks, and not only from which account.
	Share bool

	pos Pos
}

// Mapping pairs the subjects there with those here. Either side may name the
// wildcards of the other.
func (i *Import) Mapping() (*subject.Mapping, error) {
	m, err := subject.NewMapping(i.Subject, i.To)
	if err == nil {
		return m, nil
	}
	if m, other := subject.NewMapping(i.To, i.Subject); other == nil {
		return m.Inverse(), nil
	}
	return nil, err
}

// allows tells whether an account may import a subject by the export.
func (e *Export) allows(account, subj string) bool {
	if !subject.Subset(subj, e.Subject) || len(e.Accounts) > 0 && !slices.Contains(e.Accounts, account) {
		return false
	}
	return e.TokenPosition == 0 || subject.Tokens(subj)[e.TokenPosition-1] == account
}

// Export is the one that lets an account import a subject: that of the very
// subject before one that covers it. It is nil when there is none.
func (a *Account) Export(service bool, account, subj string) *Export {
	var found *Export
	for i := range a.Exports {
		e := &a.Exports[i]
		if e.Service == service && e.allows(account, subj) && (found == nil || e.Subject == subj) {
			found = e
		}
	}
	return found
}

func exportSchema() schema[Export] {
	readSubject := func(d *decoder, f *field) (string, bool) {
		s, ok := readString(d, f)
		if ok && !subject.Valid(s) {
			d.fault(f, "has the invalid subject %q", s)
			return "", false
		}
		return s, ok
	}
	offer := func(service bool) handler[Export] {
		return func(d *decoder, f *field, e *Export) {
			if s, ok := readSubject(d, f); ok {
				e.Service, e.Subject = service, s
			}
		}
	}
	return schema[Export]{blockExports, map[string]handler[Export]{
		"stream":                 offer(false),
		"service":                offer(true),
		"accounts":               put(readStrings, func(e *Export) *[]string { return &e.Accounts }),
		"account_token_position": put(readCount, func(e *Export) *int { return &e.TokenPosition }),
		"response":               put(readResponse, func(e *Export) *Response { return &e.Response }),
		"threshold":              put(readThreshold, func(e *Export) *time.Duration { return &e.Threshold }),
	}}
}

func readResponse(d *decoder, f *field) (Response, bool) {
	text, ok := readString(d, f)
	switch r := Response(strings.ToLower(text)); {
	case !ok:
		return "", false
	case r == "singleton":
		return SingleResponse, true
	case r == "chunk":
		return ChunkedResponse, true
	case r == SingleResponse || r == StreamResponse || r == ChunkedResponse:
		return r, true
	}
	d.fault(f, "must be single, stream or chunked, which %q is not", text)
	return "", false
}

func readThreshold(d *decoder, f *field) (time.Duration, bool) {
	t, ok := readDuration(d, f)
	if ok && t <= 0 {
		d.fault(f, "must be above 0, which %s is not", t)
		return 0, false
	}
	return t, ok
}

func decodeExports(d *decoder, f *field, a *Account) {
	a.Exports = nil
	readBlocks(d, f, func(v *value) {
		e := Export{pos: v.pos}
		before := len(d.faults)
		exportSchema().decode(d, v.fields, &e)
		if len(d.faults) == before && d.fitsExport(v, &e) {
			a.Exports = append(a.Exports, e)
		}
	})
}

// fitsExport completes an export, or reports what does not fit together in it.
func (d *decoder) fitsExport(v *value, e *Export) bool {
	has := func(key string) bool { return v.has(blockExports, key) }
	before := len(d.faults)
	if has("stream") == has("service") {
		d.faults.addf(v.pos, "an export needs either a stream or a service")
		return false
	}
	if !e.Service && (has("response") || has("threshold")) {
		d.faults.addf(v.pos, "stream %q: response and threshold are of services", e.Subject)
	}
	if at := e.TokenPosition; at > 0 {
		if tokens := subject.Tokens(e.Subject); at > len(tokens) || tokens[at-1] != "*" {
			d.faults.addf(v.pos, "export %q: account_token_position %d is not the place of a '*'", e.Subject, at)
		}
	}
	if e.Service && e.Response == "" {
		e.Response = SingleResponse
	}
	if e.Service && e.Threshold == 0 {
		e.Threshold = DefaultThreshold
	}
	return len(d.faults) == before
}

// importFields is an import as it stands in the text.
type importFields struct {
	Import
	prefix string
}

func importSchema() schema[importFields] {
	return schema[importFields]{blockImports, map[string]handler[importFields]{
		"stream":  decodeImported,
		"service": decodeImported,
		"prefix":  put(readString, func(i *importFields) *string { return &i.prefix }),
		"to":      put(readString, func(i *importFields) *string { return &i.To }),
		"share":   put(readBool, func(i *importFields) *bool { return &i.Share }),
	}}
}

// decodeImported reads which subject of which account is imported.
func decodeImported(d *decoder, f *field, i *importFields) {
	if !d.is(f, kindBlock) {
		return
	}
	for _, part := range f.value.fields.fields {
		switch strings.ToLower(part.key) {
		case "account":
			i.Account, _ = readString(d, part)
		case "subject":
			i.Subject, _ = readString(d, part)
		default:
			d.faults.addf(part.pos, "unknown key %q in %q", part.key, f.key)
		}
	}
	if i.Account == "" || i.Subject == "" {
		d.fault(f, "needs an account and a subject")
	}
}

func decodeImports(d *decoder, f *field, a *Account) {
	a.Imports = nil
	readBlocks(d, f, func(v *value) {
		i := importFields{Import: Import{pos: v.pos}}
		before := len(d.faults)
		importSchema().decode(d, v.fields, &i)
		if len(d.faults) == before && d.fitsImport(v, &i) {
			a.Imports = append(a.Imports, i.Import)
		}
	})
}

// fitsImport completes an import, or reports what does not fit together in it.
func (d *decoder) fitsImport(v *value, i *importFields) bool {
	has := func(key string) bool { return v.has(blockImports, key) }
	if has("stream") == has("service") {
		d.faults.addf(v.pos, "an import needs either a stream or a service")
		return false
	}
	i.Service = has("service")
	switch {
	case i.prefix != "" && i.Service:
		d.faults.addf(v.pos, "service %q: prefix is of streams; a service has to", i.Subject)
		return false
	case i.prefix != "" && i.To != "":
		d.faults.addf(v.pos, "stream %q has both prefix and to", i.Subject)
		return false
	case i.prefix != "":
		prefix := strings.TrimSuffix(i.prefix, ".")
		if !subject.ValidLiteral(prefix) {
			d.faults.addf(v.pos, "stream %q has the invalid prefix %q", i.Subject, i.prefix)
			return false
		}
		i.To = prefix + "." + i.Subject
	case i.To == "":
		i.To = i.Subject
	}
	if _, err := i.Mapping(); err != nil {
		d.faults.addf(v.pos, "import of %q to %q: %v", i.Subject, i.To, err)
		return false
	}
	return true
}

// has tells whether a block has a key, by any of its names.
func (v *value) has(block, key string) bool {
	return slices.ContainsFunc(v.fields.fields, func(f *field) bool {
		return canonicalNames[block][strings.ToLower(f.key)] == key
	})
}
