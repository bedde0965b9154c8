// Package apierr is the table of JetStream API errors. Every identifier is the
// constant of js_errors.csv, spelled the same: an error with a fixed text is a
// variable, one with {placeholders} is a function of their values.
//
//	return apierr.JSStreamNotFoundErr
//	return apierr.JSStreamCreateErrF(err)
package apierr

import (
	"errors"
	"fmt"
)

//go:generate go run ./gen js_errors.csv table.go

// Error is the error object of an API answer. Values are shared: never change one.
type Error struct {
	// Code is like an HTTP status: 400, 404, 500, 503 …
	Code int `json:"code"`
	// ErrCode identifies the error; it is never reused.
	ErrCode uint16 `json:"err_code,omitempty"`
	// Description is for people.
	Description string `json:"description,omitempty"`
}

// Error is the description with the code, as clients print it.
func (e *Error) Error() string { return fmt.Sprintf("%s (%d)", e.Description, e.ErrCode) }

// Is makes errors.Is compare by ErrCode, whatever filled the placeholders.
func (e *Error) Is(target error) bool {
	t, ok := target.(*Error)
	return ok && t.ErrCode == e.ErrCode
}

// From finds the API error within err; nil when there is none.
func From(err error) *Error {
	var e *Error
	if errors.As(err, &e) {
		return e
	}
	return nil
}
