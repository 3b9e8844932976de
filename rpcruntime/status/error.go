// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package status

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Fate is what is known about a failed call's execution.
type Fate uint8

const (
	// FateUnknown: the call may have run. It is sent again only if its method
	// is declared idempotent.
	FateUnknown Fate = iota
	// FateUnexecuted: no handler and no interceptor of the callee saw the call.
	FateUnexecuted
	// FateExecuted: the callee's handler answered, with an error.
	FateExecuted
)

// String returns unknown, unexecuted or executed.
func (f Fate) String() string {
	switch f {
	case FateUnexecuted:
		return "unexecuted"
	case FateExecuted:
		return "executed"
	default:
		return "unknown"
	}
}

// Error is how a call fails. All errors that this library returns for a call
// can be had as an *Error by errors.As.
//
// Its message travels to the caller when a handler returns it: put nothing
// into it that the peer must not see.
type Error struct {
	code    Code
	msg     string
	cause   error
	fate    Fate
	after   time.Duration
	noRetry bool
	reason  string
	details []byte
}

// New returns an error with that code and message. An OK or invalid code
// becomes Unknown: there is no error that says OK.
func New(code Code, msg string) *Error {
	if code == OK || !code.Valid() {
		code = Unknown
	}
	return &Error{code: code, msg: msg}
}

// Errorf is New with a format. A %w operand becomes the cause that Unwrap
// returns.
func Errorf(code Code, format string, args ...any) *Error {
	formatted := fmt.Errorf(format, args...)
	e := New(code, formatted.Error())
	e.cause = errors.Unwrap(formatted)
	return e
}

// Error returns the message, with the code's name in front.
func (e *Error) Error() string {
	if e.msg == "" {
		return e.code.String()
	}
	return e.code.String() + ": " + e.msg
}

// Code returns the code, which is never OK.
func (e *Error) Code() Code { return e.code }

// Message returns the message without the code.
func (e *Error) Message() string { return e.msg }

// Unwrap returns the cause, if there is one on this side of the wire.
func (e *Error) Unwrap() error { return e.cause }

// Fate returns what is known about the call's execution.
func (e *Error) Fate() Fate { return e.fate }

// RetryAfter returns the delay after which a retry makes sense; 0 when
// nothing was advised.
func (e *Error) RetryAfter() time.Duration { return e.after }

// NoRetry reports whether the callee asked that nobody above it retries,
// because it, next to the failure, has done so already.
func (e *Error) NoRetry() bool { return e.noRetry }

// Reason returns the machine-readable cause of a refusal, such as
// "wrong-endpoint"; empty for most errors.
func (e *Error) Reason() string { return e.reason }

// Details returns the encoded details of an error, in the call's codec; nil
// for most. The caller must not change them.
func (e *Error) Details() []byte { return e.details }

func (e *Error) with(change func(*Error)) *Error {
	c := *e
	change(&c)
	return &c
}

// WithCause returns a copy whose Unwrap returns cause.
func (e *Error) WithCause(cause error) *Error { return e.with(func(c *Error) { c.cause = cause }) }

// WithFate returns a copy with that fate.
func (e *Error) WithFate(f Fate) *Error { return e.with(func(c *Error) { c.fate = f }) }

// WithRetryAfter returns a copy that advises a delay; below 0 counts as 0.
func (e *Error) WithRetryAfter(d time.Duration) *Error {
	return e.with(func(c *Error) { c.after = max(d, 0) })
}

// WithNoRetry returns a copy that tells those above not to retry.
func (e *Error) WithNoRetry() *Error { return e.with(func(c *Error) { c.noRetry = true }) }

// WithReason returns a copy with a machine-readable reason.
func (e *Error) WithReason(reason string) *Error { return e.with(func(c *Error) { c.reason = reason }) }

// WithDetails returns a copy with encoded details; it keeps the slice.
func (e *Error) WithDetails(details []byte) *Error {
	return e.with(func(c *Error) { c.details = details })
}

// Convert returns err as an *Error: err itself or the *Error that it wraps
// (keeping the outer text), Canceled and DeadlineExceeded for the context
// errors, else Unknown with err's text. It returns nil for nil.
func Convert(err error) *Error {
	if err == nil {
		return nil
	}
	if direct, ok := err.(*Error); ok { //nolint:errorlint // the wrapped case, which keeps the outer text, follows
		return direct
	}
	var e *Error
	if errors.As(err, &e) {
		return e.with(func(c *Error) { c.msg, c.cause = err.Error(), err })
	}
	code := Unknown
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		code = DeadlineExceeded
	case errors.Is(err, context.Canceled):
		code = Canceled
	}
	return New(code, err.Error()).WithCause(err)
}

// CodeOf returns the code of err: OK for nil, the code of the *Error in its
// chain, Canceled or DeadlineExceeded for the context errors, else Unknown.
func CodeOf(err error) Code {
	if err == nil {
		return OK
	}
	return Convert(err).code
}

// FateOf returns what is known about the execution of the call that failed
// with err; FateUnknown when err does not say.
func FateOf(err error) Fate {
	var e *Error
	if errors.As(err, &e) {
		return e.fate
	}
	return FateUnknown
}

// RetryAfter returns the delay that err advises; 0 when it advises none.
func RetryAfter(err error) time.Duration {
	var e *Error
	if errors.As(err, &e) {
		return e.after
	}
	return 0
}
