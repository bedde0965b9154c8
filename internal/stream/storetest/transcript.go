package storetest

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"weir/internal/apierr"
	"weir/internal/msg"
)

// ParseMessage reads a message of a transcript: lines of headers, an empty line and a body; or a body alone.
func ParseMessage(text string) (header, body []byte) {
	head, rest, _ := strings.Cut(text+"\n", "\n\n")
	for line := range strings.Lines(head) {
		if strings.Contains(line, ": ") || strings.HasSuffix(strings.TrimSpace(line), ":") {
			header = append(header, strings.TrimSpace(line)+"\r\n"...)
		}
	}
	if header == nil {
		return nil, []byte(strings.TrimSpace(text))
	}
	return slices.Concat([]byte("NATS/1.0\r\n"), header, []byte("\r\n")), []byte(strings.TrimSpace(rest))
}

// ErrorText prints an error of the API.
func ErrorText(e *apierr.Error) string {
	return fmt.Sprintf("error %d %d: %s\n", e.Code, e.ErrCode, e.Description)
}

// Fields prints the fields of a JSON document, and those of what is in it, sorted by name.
func Fields(doc any) string {
	var fields map[string]any
	recode(doc, &fields)
	var b strings.Builder
	for i, name := range slices.Sorted(maps.Keys(fields)) {
		if i > 0 {
			b.WriteByte(' ')
		}
		b.WriteString(name + "=" + encode(fields[name]))
	}
	return b.String() + "\n"
}

func encode(v any) string {
	data, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return string(data)
}

// recode keeps numbers as they are written.
func recode(from, to any) {
	d := json.NewDecoder(strings.NewReader(encode(from)))
	d.UseNumber()
	if err := d.Decode(to); err != nil {
		panic(err)
	}
}

// Summary prints what State says.
func (s *Store) Summary() string {
	st := s.State()
	return fmt.Sprintf("msgs %d bytes %d first %d last %d subjects %d deleted %d\n", st.Msgs, st.Bytes, st.FirstSeq, st.LastSeq,
		s.NumSubjects(), st.NumDeleted)
}

// List prints what is stored, without the date.
func (s *Store) List() string {
	var b strings.Builder
	for _, m := range s.msgs {
		fmt.Fprintf(&b, "%d %s %s %q %q\n", m.Seq, time.Unix(0, m.Time).UTC().Format("15:04:05.000"), m.Subject, m.Header, m.Data)
	}
	return b.String()
}

// Show prints one message, its header and body in base64.
func (s *Store) Show(seq uint64) string {
	var m msg.Message
	if ok, _ := s.Load(seq, &m, nil); !ok {
		return ErrorText(apierr.JSNoMessageFoundErr)
	}
	text := func(b []byte) string {
		if len(b) == 0 {
			return "<nil>"
		}
		return strings.Trim(encode(b), `"`)
	}
	return fmt.Sprintf("%s hdrs=%s data=%s\n", m.Subject, text(m.Header), text(m.Data))
}
