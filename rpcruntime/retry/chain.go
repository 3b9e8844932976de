// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package retry

import (
	"errors"

	"github.com/fairlead/fairlead/rpcruntime/status"
)

// SaysNever reports whether a handler that fails with err, the error of a call
// that it made itself, must tell those above not to retry.
//
// It must when the hop next to the failure, this process or one below, was the
// one to retry: when the failed call did not get an answer, was refused for
// load, was answered Unavailable, or was answered never. Were those above to
// try again as well, a chain of three hops with three attempts each would make
// twenty-seven of one. Other answers of an application are its own matter.
func SaysNever(err error) bool {
	var e *status.Error
	if !errors.As(err, &e) {
		return false
	}
	if e.NoRetry() || e.Fate() == status.FateUnexecuted {
		return true
	}
	switch e.Code() {
	case status.Unavailable, status.ResourceExhausted:
		return true
	default:
		return e.Fate() == status.FateUnknown
	}
}
