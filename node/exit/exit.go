// Package exit gives errors the exit code that the program ends with. The codes are
// sysexits.h's where it has one, so that systemd's RestartPreventExitStatus=78 keeps a
// misconfigured node from restarting for ever.
package exit

import (
	"errors"
	"fmt"
)

// Exit codes of the program.
const (
	OK        = 0
	Failed    = 1
	Usage     = 2
	Degraded  = 3  // It works, but something needs a look.
	NotFound  = 4  //
	Denied    = 5  //
	Temporary = 75 // Try again later (EX_TEMPFAIL).
	Config    = 78 // The configuration or the data folder is wrong (EX_CONFIG).
)

// Error is an error with an exit code. Its text is one sentence for the operator.
type Error struct {
	Code int
	Err  error
}

// Error returns the sentence.
func (e *Error) Error() string { return e.Err.Error() }

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Errorf returns an error with the code; the format is fmt.Errorf's.
func Errorf(code int, format string, args ...any) error {
	return &Error{Code: code, Err: fmt.Errorf(format, args...)}
}

// Configf is Errorf with code Config.
func Configf(format string, args ...any) error { return Errorf(Config, format, args...) }

// Usagef is Errorf with code Usage.
func Usagef(format string, args ...any) error { return Errorf(Usage, format, args...) }

// Code returns the exit code of err: OK for nil, Failed for an error without one.
func Code(err error) int {
	var e *Error
	switch {
	case err == nil:
		return OK
	case errors.As(err, &e):
		return e.Code
	}
	return Failed
}
