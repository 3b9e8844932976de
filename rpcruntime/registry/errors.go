// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package registry

import (
	"fmt"
	"strings"
	"time"

	"github.com/fairlead/fairlead/rpcruntime/status"
)

// FrameError is a message from the peer that cannot be right. One from the
// registry ends its connection; what is held stays.
type FrameError struct {
	// Kind names the message, Service what it is about; empty when not known.
	Kind, Service string
	// Err is what is wrong.
	Err error
}

// Error names the message, the service and what is wrong.
func (e *FrameError) Error() string {
	about := ""
	if e.Service != "" {
		about = fmt.Sprintf(" for %.200q", e.Service)
	}
	return fmt.Sprintf("registry message %q%s: %v", e.Kind, about, e.Err)
}

// Unwrap gives what is wrong.
func (e *FrameError) Unwrap() error { return e.Err }

// NotFoundError is a service that the registry does not have.
type NotFoundError struct {
	// Service is namespace/name.
	Service string
	// Registry is who was asked, AsOf when it answered.
	Registry string
	AsOf     time.Time
	// Near are names that may have been meant.
	Near []string
}

// Error says who was asked and what is near.
func (e *NotFoundError) Error() string {
	text := fmt.Sprintf("no service %q in the registry %s (as of %s)", e.Service, e.Registry, e.AsOf.Format(time.TimeOnly))
	if len(e.Near) > 0 {
		quoted := make([]string, len(e.Near))
		for i, n := range e.Near {
			quoted[i] = fmt.Sprintf("%q", n)
		}
		text += "; did you mean " + strings.Join(quoted, " or ") + "?"
	}
	return text
}

// GoneError is a service that a caller used and that the registry does not have
// any more.
type GoneError struct {
	// Service is namespace/name, Registry who said so.
	Service, Registry string
	// Since is when this process learnt of it.
	Since time.Time
	// Forgotten: what was known of the service is to be dropped. Until then it
	// stays in use.
	Forgotten bool
}

// Error says what became of the service, and what that means.
func (e *GoneError) Error() string {
	text := fmt.Sprintf("service %q is gone from the registry %s since %s", e.Service, e.Registry, e.Since.Format(time.TimeOnly))
	if e.Forgotten {
		return text + " and has been forgotten"
	}
	return text + "; its last known endpoints and policies are used for up to " + forgetAfter.String() + ", or until they fail"
}

// BehindError is a replica of the registry that has not seen yet what is held.
type BehindError struct{ Service, Registry string }

// Error says who is behind.
func (e *BehindError) Error() string {
	return fmt.Sprintf("registry %s has not yet seen what is held of %q; what is held stays in use", e.Registry, e.Service)
}

// invalid gives err as a *status.Error of that code, with err as its cause.
func invalid(code status.Code, err error) *status.Error {
	return status.New(code, err.Error()).WithCause(err)
}
