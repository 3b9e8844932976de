// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package rpcruntime

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/fairlead/fairlead/rpcruntime/status"
	"github.com/fairlead/fairlead/rpcruntime/transport"
	"github.com/fairlead/fairlead/rpcruntime/wire"
)

// calledError stands in the chain of causes of every error that a call by this
// process ended with: so a handler's own errors can be told from those of the
// calls that it made.
type calledError struct{ cause error }

// Error is the cause's.
func (e *calledError) Error() string {
	if e.cause == nil {
		return "call failed"
	}
	return e.cause.Error()
}

// Unwrap returns the cause.
func (e *calledError) Unwrap() error { return e.cause }

// ofCall reports whether err comes from a call that this process made.
func ofCall(err error) bool {
	var called *calledError
	return errors.As(err, &called)
}

// readError makes an error of an error response. What our own keys say counts
// only from a peer that has shown that it speaks the extensions: an old peer
// may have them from somebody else. docs/wire-protocol.md §9
func readError(r *transport.Result, extended bool) *status.Error {
	msg := "the callee answered with an error and did not say which"
	if text, ok := r.Meta.Get(wire.KeyError); ok {
		msg = string(text)
	}
	if !extended {
		return status.New(oldPeerCode(msg), msg).WithFate(status.FateExecuted)
	}
	code := status.Unknown
	if v, ok := r.Meta.Get(wire.KeyCode); ok {
		if n, err := strconv.ParseUint(string(v), 10, 32); err == nil {
			code = status.FromNumber(n)
		}
	}
	e := status.New(code, msg).WithFate(status.FateExecuted)
	if v, ok := r.Meta.Get(wire.KeyRetry); ok {
		e = withRetry(e, wire.ParseRetry(v))
	}
	if v, ok := r.Meta.Get(wire.KeyDetails); ok {
		e = e.WithDetails(append([]byte(nil), v...))
	}
	return e
}

func withRetry(e *status.Error, r wire.Retry) *status.Error {
	switch r.Word {
	case wire.RetryUnexecuted:
		e = e.WithFate(status.FateUnexecuted)
	case wire.RetryNever:
		e = e.WithNoRetry()
	case wire.RetryExecuted:
	default:
		e = e.WithFate(status.FateUnknown)
	}
	return e.WithRetryAfter(r.After).WithReason(r.Reason)
}

// oldPeerCode finds a code for the texts that rpcx's servers are known to send.
func oldPeerCode(msg string) status.Code {
	switch {
	case strings.HasPrefix(msg, "rpcx: can't find "), strings.HasPrefix(msg, "can not find codec for "):
		return status.Unimplemented
	case msg == "request reached rate limit":
		return status.ResourceExhausted
	default:
		return status.Unknown
	}
}

// replyMeta returns what the callee sent beside its reply, for the caller.
func replyMeta(m wire.Meta) Metadata {
	md := userMetadata(m)
	delete(md, wire.KeyError)
	if len(md) == 0 {
		return nil
	}
	return md
}

// noEndpoint is the error of a call for whose next attempt there was no endpoint:
// of the first, that; else of the attempts before.
func (o *outgoingCall) noEndpoint(ctx context.Context, none *status.Error) error {
	if n := len(o.failures); n > 0 {
		return o.final(ctx, o.failures[n-1].err)
	}
	c := o.client
	return status.Errorf(none.Code(), "rpc: %s %s: %s", c.service, o.call.Method, c.noEndpoint()).WithFate(status.FateUnexecuted)
}

// final is the error of the whole call: of one attempt, what the callee said;
// of several, or of none that reached a callee, the story.
func (o *outgoingCall) final(ctx context.Context, last *status.Error) error {
	c := o.client
	fate := o.fate(last)
	if last.Fate() == status.FateExecuted && len(o.failures) == 1 && last == o.failures[0].err {
		return last // the callee's own words
	}
	took := (c.rt.now() - o.start).Round(time.Millisecond)
	var b strings.Builder
	fmt.Fprintf(&b, "rpc: %s %s: %s after %s in %s", c.service, o.call.Method, words(last.Code()), plural(o.sent, "attempt"), took)
	if left := time.Until(o.deadline).Round(time.Millisecond); left > 0 {
		fmt.Fprintf(&b, " (deadline in %s)", left)
	} else {
		b.WriteString(" (deadline passed)")
	}
	for i, f := range o.failures {
		sep := "; "
		if i == 0 {
			sep = ": "
		}
		b.WriteString(sep + f.address + " " + f.err.Message())
	}
	e := status.New(last.Code(), b.String()).WithCause(last).WithFate(fate).WithRetryAfter(last.RetryAfter()).WithReason(last.Reason()).WithDetails(last.Details())
	if last.NoRetry() {
		e = e.WithNoRetry()
	}
	if ctx.Err() != nil && !isContextError(last) {
		e = e.WithCause(ctx.Err())
	}
	return e
}

// fate is what is known of the call as a whole: unexecuted only if every attempt was.
func (o *outgoingCall) fate(last *status.Error) status.Fate {
	fate := last.Fate()
	for _, f := range o.failures {
		if f.err.Fate() == status.FateUnknown {
			return status.FateUnknown
		}
		if f.err.Fate() == status.FateExecuted {
			fate = status.FateExecuted
		}
	}
	return fate
}

// words is the code's name as prose: "deadline exceeded".
func words(c status.Code) string {
	var b strings.Builder
	for i, r := range c.String() {
		if i > 0 && unicode.IsUpper(r) {
			b.WriteByte(' ')
		}
		b.WriteRune(unicode.ToLower(r))
	}
	return b.String()
}

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return strconv.Itoa(n) + " " + what + "s"
}

// noEndpoint says why there is nothing to pick.
func (c *Client) noEndpoint() string {
	st := c.state.Load()
	if st.snapshot == nil || len(st.snapshot.Endpoints) == 0 {
		return "the registry knows the service, but no endpoint of it"
	}
	if len(st.snapshot.Endpoints) == 1 {
		return "its only endpoint cannot be used now"
	}
	return fmt.Sprintf("none of its %d endpoints can be used now", len(st.snapshot.Endpoints))
}

// neverCame is the error of a call that waited in vain for the first snapshot.
func (c *Client) neverCame(st *clientState, cause error) error {
	if st.invalid != nil {
		return st.invalid.WithCause(cause)
	}
	code := status.Convert(cause).Code()
	why := ""
	if st.ambient != nil {
		why = ": " + st.ambient.Error()
	}
	return status.Errorf(code, "rpc: %s: nothing was heard of the service from the registry %s%s", c.service, strings.Join(c.rt.opts.env.registry, ", "), why).
		WithCause(cause).WithFate(status.FateUnexecuted)
}
