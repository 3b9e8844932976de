// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package retry

// Reason is why there is, or is not, another attempt. The set is closed; its
// names are labels of metrics.
type Reason uint8

// Reasons for another attempt.
const (
	// Resent: the endpoint did not take the call; the resend is free.
	Resent Reason = iota
	// Refused: a limit refused the call, another endpoint may not.
	Refused
	// Unexecuted: the attempt was not executed.
	Unexecuted
	// Unknown: nobody knows whether it was executed; the method is idempotent.
	Unknown
	// Unavailable: the handler answered so; the method is idempotent.
	Unavailable
)

// Reasons to stop.
const (
	// StopCaller: the caller gave up.
	StopCaller Reason = iota + 16
	// StopDeadline: the call's deadline has passed, or would before the attempt.
	StopDeadline
	// StopNever: the callee has retried itself and asks not to.
	StopNever
	// StopError: the error is an answer, or would come from every endpoint.
	StopError
	// StopUnsafe: it may have been executed, and the method is not idempotent.
	StopUnsafe
	// StopAttempts: the policy allows no more attempts.
	StopAttempts
	// StopEndpoints: every endpoint has been tried.
	StopEndpoints
	// StopBudget: there are too many retries already.
	StopBudget
)

func (r Reason) stops() bool { return r >= StopCaller }

// String returns the reason as a label: lower case, words joined by underscores.
func (r Reason) String() string {
	switch r {
	case Resent:
		return "resent"
	case Refused:
		return "refused"
	case Unexecuted:
		return "unexecuted"
	case Unknown:
		return "unknown"
	case Unavailable:
		return "unavailable"
	case StopCaller:
		return "stop_caller"
	case StopDeadline:
		return "stop_deadline"
	case StopNever:
		return "stop_never"
	case StopError:
		return "stop_error"
	case StopUnsafe:
		return "stop_unsafe"
	case StopAttempts:
		return "stop_attempts"
	case StopEndpoints:
		return "stop_endpoints"
	case StopBudget:
		return "stop_budget"
	default:
		return "invalid"
	}
}
