// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package rpcruntime

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/fairlead/fairlead/rpcruntime/status"
)

// FanOutError is in the chain of the error of a Broadcast or Fork that failed.
type FanOutError struct {
	// Endpoints is how many there were.
	Endpoints int
	// Failures are those that failed, in the endpoints' order.
	Failures []EndpointFailure
}

// EndpointFailure is a call that failed at one endpoint.
type EndpointFailure struct {
	// Address is the endpoint's, host:port.
	Address string
	// Err is a *status.Error.
	Err error
}

const (
	// fanStories is how many failures an error's text tells whole; of those that
	// follow it names the addresses only, and of fanNames at most.
	fanStories = 16
	fanNames   = 256
)

// Error names the endpoints that failed, and how the first sixteen did.
func (e *FanOutError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d of %s failed", len(e.Failures), plural(e.Endpoints, "endpoint"))
	for i, f := range e.Failures {
		sep := "; "
		if i == 0 {
			sep = ": "
		}
		switch {
		case i < fanStories:
			b.WriteString(sep + f.Address + " " + status.Convert(f.Err).Message())
		case i < fanNames:
			b.WriteString(sep + f.Address)
		default:
			fmt.Fprintf(&b, "; and %d more", len(e.Failures)-i)
			return b.String()
		}
	}
	return b.String()
}

// Unwrap returns the failures' errors.
func (e *FanOutError) Unwrap() []error {
	errs := make([]error, 0, len(e.Failures))
	for _, f := range e.Failures {
		errs = append(errs, f.Err)
	}
	return errs
}

// fanFailed is the error of a fan-out in which endpoints failed.
func (o *outgoingCall) fanFailed(ctx context.Context, f *fan) error {
	story := &FanOutError{Endpoints: len(f.results)}
	var first *status.Error
	fate, never := status.FateUnexecuted, false
	for i := range f.results {
		r := &f.results[i]
		if r.err == nil {
			fate = worseFate(fate, status.FateExecuted)
			continue
		}
		if first == nil {
			first = r.err
		}
		fate = worseFate(fate, r.err.Fate())
		never = never || r.err.NoRetry()
		story.Failures = append(story.Failures, EndpointFailure{r.address, r.err})
	}
	took := (o.client.rt.now() - o.start).Round(time.Millisecond)
	cause := error(story)
	if ctx.Err() != nil {
		cause = errors.Join(story, ctx.Err())
	}
	e := status.Errorf(first.Code(), "rpc: %s %s: %s after %s: %s", o.client.service, o.call.Method, words(first.Code()), took, story.Error()).
		WithCause(cause).WithFate(fate).WithReason(first.Reason())
	if never {
		e = e.WithNoRetry()
	}
	return e
}

// worseFate is what is known of two attempts together: that one of them ran, or
// may have, outweighs that the other did not.
func worseFate(a, b status.Fate) status.Fate {
	switch {
	case a == status.FateUnknown || b == status.FateUnknown:
		return status.FateUnknown
	case a == status.FateExecuted || b == status.FateExecuted:
		return status.FateExecuted
	default:
		return status.FateUnexecuted
	}
}
