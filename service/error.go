package service

import (
	"errors"
	"maps"
	"net/http"
)

// Code is the class of a refusal; Status maps it to HTTP.
type Code int

// Codes of refusal.
const (
	Internal      Code = iota // Our fault; the text never reaches users.
	Invalid                   // The input is wrong; Fields say where.
	NotSignedIn               //
	Forbidden                 // Signed in, wrong role.
	NotFound                  // Also: exists, but in another tenant.
	WrongMethod               //
	Conflict                  // The state does not allow it (any more).
	TooLarge                  //
	Unprocessable             // Well formed, but cannot be done.
	TooMany                   // Slow down; Params["retry_after"] in seconds.
	Unavailable               // For now; Params["retry_after"] in seconds.
)

var statusOf = map[Code]int{
	Internal: http.StatusInternalServerError, Invalid: http.StatusBadRequest,
	NotSignedIn: http.StatusUnauthorized, Forbidden: http.StatusForbidden,
	NotFound: http.StatusNotFound, WrongMethod: http.StatusMethodNotAllowed,
	Conflict: http.StatusConflict, TooLarge: http.StatusRequestEntityTooLarge,
	Unprocessable: http.StatusUnprocessableEntity, TooMany: http.StatusTooManyRequests,
	Unavailable: http.StatusServiceUnavailable,
}

// Status returns the HTTP status of the code.
func (c Code) Status() int { return statusOf[c] }

// Error is a refusal for users. Reason is the key of its message in every language
// ("cases.not_submitted"); Params fill the message; Fields give the reason of each wrong
// field by its form name. Refusals are compared by Reason with errors.Is.
type Error struct {
	Code   Code
	Reason string
	Params map[string]any
	Fields map[string]string
	Err    error // The cause, for operators only.
}

// Refuse returns a refusal of the class and reason.
func Refuse(code Code, reason string) *Error { return &Error{Code: code, Reason: reason} }

// Error returns the reason and cause, for logs.
func (e *Error) Error() string {
	if e.Err != nil {
		return e.Reason + ": " + e.Err.Error()
	}
	return e.Reason
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Is reports whether target is a refusal for the same reason.
func (e *Error) Is(target error) bool {
	t, ok := target.(*Error)
	return ok && t.Reason == e.Reason
}

// With returns a copy with one more parameter.
func (e *Error) With(key string, value any) *Error {
	c := *e
	c.Params = maps.Clone(e.Params)
	if c.Params == nil {
		c.Params = map[string]any{}
	}
	c.Params[key] = value
	return &c
}

// Field returns a copy with the reason of one wrong field.
func (e *Error) Field(name, reason string) *Error {
	c := *e
	c.Fields = maps.Clone(e.Fields)
	if c.Fields == nil {
		c.Fields = map[string]string{}
	}
	c.Fields[name] = reason
	return &c
}

// Because returns a copy with a cause for operators.
func (e *Error) Because(err error) *Error {
	c := *e
	c.Err = err
	return &c
}

// Refusals that belong to no one service. Their messages are the portal's.
var (
	ErrInternal       = Refuse(Internal, "internal")
	ErrInvalid        = Refuse(Invalid, "invalid")
	ErrNotSignedIn    = Refuse(NotSignedIn, "not_signed_in")
	ErrForbidden      = Refuse(Forbidden, "forbidden")
	ErrNotFound       = Refuse(NotFound, "not_found")
	ErrWrongMethod    = Refuse(WrongMethod, "wrong_method")
	ErrTooLarge       = Refuse(TooLarge, "too_large")
	ErrTooMany        = Refuse(TooMany, "too_many")
	ErrUnavailable    = Refuse(Unavailable, "unavailable")
	ErrDiskFull       = Refuse(Unavailable, "disk_full")
	ErrUnknownOutcome = Refuse(Unavailable, "outcome_unknown")
	ErrKeyReused      = Refuse(Unprocessable, "key_reused")
	ErrCrossOrigin    = Refuse(Forbidden, "cross_origin")
)

// AsError returns the refusal in err's chain, or ErrInternal with err as its cause.
func AsError(err error) *Error {
	var e *Error
	if errors.As(err, &e) {
		return e
	}
	return ErrInternal.Because(err)
}
