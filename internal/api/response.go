package api

import "weir/internal/apierr"

// Response is the envelope of every answer: its type and, when the request
// failed, the error. Documents embed it, and embed what a success holds as a
// pointer, so that a failure is the envelope alone.
type Response struct {
	Type  string        `json:"type"`
	Error *apierr.Error `json:"error,omitempty"`
}

// Fail is an answer of a type with an error.
func Fail(responseType string, err *apierr.Error) Response {
	return Response{Type: responseType, Error: err}
}

// SuccessResponse is the answer of every request that only succeeds or fails:
// deletes, step-downs, peer removals, evacuations.
type SuccessResponse struct {
	Response
	Success bool `json:"success,omitempty"`
}

// Paged is the part of an answer that says which page it is.
type Paged struct {
	Total  int `json:"total"`
	Offset int `json:"offset"`
	Limit  int `json:"limit"`
}

// PagedRequest asks for the page that starts at Offset; negative counts as 0.
type PagedRequest struct {
	Offset int `json:"offset"`
}

// PubAck answers a publish.
type PubAck struct {
	Error     *apierr.Error `json:"error,omitempty"`
	Stream    string        `json:"stream"`
	Domain    string        `json:"domain,omitempty"`
	Sequence  uint64        `json:"seq"`
	Duplicate bool          `json:"duplicate,omitempty"`
	Value     string        `json:"val,omitempty"`
	BatchID   string        `json:"batch,omitempty"`
	BatchSize int           `json:"count,omitempty"`
}
