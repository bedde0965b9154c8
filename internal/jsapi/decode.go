package jsapi

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"

	"weir/internal/api"
	"weir/internal/apierr"
)

// decode reads a JSON body strictly: a field that is not known is an error, and
// so is anything behind the document.
func decode(body []byte, doc any) *apierr.Error {
	d := json.NewDecoder(bytes.NewReader(body))
	d.DisallowUnknownFields()
	if err := d.Decode(doc); err != nil {
		if syntax := (*json.SyntaxError)(nil); errors.As(err, &syntax) {
			return apierr.JSInvalidJSONErr(fmt.Sprintf("%v at offset %d", err, syntax.Offset))
		}
		return apierr.JSInvalidJSONErr(err)
	}
	var more json.RawMessage
	err := d.Decode(&more)
	if errors.Is(err, io.EOF) {
		return nil
	}
	at := d.InputOffset()
	if syntax := (*json.SyntaxError)(nil); errors.As(err, &syntax) {
		at = syntax.Offset
	}
	if err == nil {
		err = errors.New("more than one document")
	}
	return apierr.JSInvalidJSONErr(fmt.Sprintf("%v at offset %d", err, at))
}

// decodeOptional reads the body of a request that may be empty. What is not a
// JSON object counts as empty.
func decodeOptional(body []byte, doc any) *apierr.Error {
	if !isJSON(body) {
		return nil
	}
	return decode(body, doc)
}

// read reads the body of a request that has to say something; false once it has
// been refused.
func (c *call) read(doc any) bool {
	err := apierr.JSBadRequestErr
	if !isEmpty(c.Body) {
		err = decode(c.Body, doc)
	}
	return c.accepted(err)
}

// readOptional reads a body by decodeOptional; false once it has been refused.
func (c *call) readOptional(doc any) bool { return c.accepted(decodeOptional(c.Body, doc)) }

// readNothing is false once a request that says something has been refused.
func (c *call) readNothing() bool {
	if isEmpty(c.Body) {
		return true
	}
	return c.accepted(apierr.JSNotEmptyRequestErr)
}

// accepted is false after it has answered with err.
func (c *call) accepted(err *apierr.Error) bool {
	if err != nil {
		c.fail(err)
	}
	return err == nil
}

// isJSON tells whether a body begins like a JSON object or array.
func isJSON(body []byte) bool {
	body = bytes.TrimLeft(body, " \t\r\n")
	return len(body) > 0 && (body[0] == '{' || body[0] == '[')
}

// isEmpty tells whether a request says nothing: no body, or an object without
// fields.
func isEmpty(body []byte) bool {
	body = bytes.TrimSpace(body)
	if len(body) == 0 {
		return true
	}
	if body[0] != '{' {
		return false
	}
	var fields map[string]json.RawMessage
	return json.Unmarshal(body, &fields) == nil && len(fields) == 0
}

// oneOf checks an enumeration as a decoder would: empty is its default.
func oneOf[T ~string](value T, known ...T) *apierr.Error {
	if value == "" {
		return nil
	}
	for _, k := range known {
		if value == k {
			return nil
		}
	}
	return apierr.JSInvalidJSONErr(fmt.Sprintf("can not unmarshal %q", strconv.Quote(string(value))))
}

func firstError(errs ...*apierr.Error) *apierr.Error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

func checkStreamEnums(c *api.StreamConfig) *apierr.Error {
	return firstError(
		oneOf(c.Retention, api.LimitsRetention, api.InterestRetention, api.WorkQueueRetention),
		oneOf(c.Discard, api.DiscardOld, api.DiscardNew),
		oneOf(c.Storage, api.FileStorage, api.MemoryStorage),
		checkCompression(c.Compression),
		oneOf(c.PersistMode, "default", "async"),
	)
}

func checkCompression(c api.Compression) *apierr.Error {
	if oneOf(c, api.NoCompression, api.S2Compression) != nil {
		return apierr.JSInvalidJSONErr("unknown compression algorithm")
	}
	return nil
}

func checkConsumerEnums(c *api.ConsumerConfig) *apierr.Error {
	return firstError(
		oneOf(c.DeliverPolicy, api.DeliverAll, api.DeliverLast, api.DeliverNew, api.DeliverByStartSequence, api.DeliverByStartTime, api.DeliverLastPerSubject),
		oneOf(c.AckPolicy, api.AckNone, api.AckAll, api.AckExplicit, api.AckFlowControl),
		oneOf(c.ReplayPolicy, api.ReplayInstant, api.ReplayOriginal),
		priorityPolicy(c.PriorityPolicy),
	)
}

func priorityPolicy(p api.PriorityPolicy) *apierr.Error {
	if oneOf(p, api.PriorityNone, api.PriorityOverflow, api.PriorityPinned, api.PriorityPrioritized) == nil {
		return nil
	}
	return apierr.JSInvalidJSONErr(fmt.Sprintf("unknown priority policy: %q", p))
}

// page clips an offset to a list of total items.
func page(offset, total, limit int) (from, to int, p api.Paged) {
	from = min(max(offset, 0), total)
	to = min(from+limit, total)
	return from, to, api.Paged{Total: total, Offset: from, Limit: limit}
}
