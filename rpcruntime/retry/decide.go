// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package retry

import (
	"math"
	"math/bits"
	"time"

	"github.com/fairlead/fairlead/rpcruntime/policy"
	"github.com/fairlead/fairlead/rpcruntime/status"
)

// NoDeadline is what remains of a call that has no deadline.
const NoDeadline time.Duration = math.MaxInt64

// Rules are the parts of a method's policy that decide on attempts.
type Rules struct {
	FailMode policy.FailMode
	// Attempts includes the first.
	Attempts int
	// PerTryTimeout is 0 when there is none.
	PerTryTimeout time.Duration
	Backoff       policy.Backoff
}

// attempts returns how many attempts the policy allows in all.
func (r *Rules) attempts() int {
	if r.FailMode == policy.Failfast {
		return 1
	}
	return max(r.Attempts, 1)
}

// Attempt is a failed attempt, and where its call stands.
type Attempt struct {
	// Err is how it failed.
	Err *status.Error
	// Made counts the attempts, this one included, free resends left out.
	Made int
	// Idempotent is what the owner declared of the method.
	Idempotent bool
	// CallerDone says that the caller's own context has ended.
	CallerDone bool
	// NotTaken says that the endpoint did not take the call: drain, bye,
	// wrong-endpoint, or a frame that never left, a failed dial included. It
	// counts only for an error that is unexecuted.
	NotTaken bool
	// FreeUsed says that this call has had its free resend.
	FreeUsed bool
	// Untried says that there is an endpoint that this call has not tried.
	Untried bool
	// Remaining is the time until the call's deadline, or NoDeadline.
	Remaining time.Duration
}

// Decision says what follows a failed attempt.
type Decision struct {
	// Retry says that another attempt is made; else the call has failed.
	Retry bool
	// Free says that it is the free resend: it does not count as an attempt.
	Free bool
	// AllowTried says that a tried endpoint will do when no other is left.
	AllowTried bool
	// Delay is how long to wait first.
	Delay time.Duration
	// Reason is why, for metrics and logs.
	Reason Reason
}

func stop(why Reason) Decision { return Decision{Reason: why} }

// Decide says whether the attempt is followed by another, by the rules that the
// package's documentation lists. It takes from the budget when it says so.
func Decide(r Rules, a Attempt, b *Budget, now time.Duration, rand uint64) Decision {
	why := judge(&a)
	if why.stops() {
		return stop(why)
	}
	if why == Resent {
		return Decision{Retry: true, Free: true, AllowTried: true, Reason: why}
	}
	if a.Made >= r.attempts() {
		return stop(StopAttempts)
	}
	if !a.Untried {
		return stop(StopEndpoints)
	}
	var delay time.Duration
	if why != Refused {
		// A refusal's advice concerns that endpoint alone; any other advice is
		// the service's own.
		delay = max(backoff(r.Backoff, a.Made, rand), a.Err.RetryAfter())
	}
	if delay >= a.Remaining {
		return stop(StopDeadline)
	}
	if !b.TryRetry(now) {
		return stop(StopBudget)
	}
	return Decision{Retry: true, Delay: delay, Reason: why}
}

// judge says whether the error itself allows another attempt, and on what grounds.
func judge(a *Attempt) Reason {
	switch {
	case a.Err == nil:
		return StopError
	case a.CallerDone || a.Err.Code() == status.Canceled:
		return StopCaller
	case a.Remaining <= 0:
		return StopDeadline
	case a.Err.NoRetry():
		return StopNever
	}
	switch a.Err.Fate() {
	case status.FateUnexecuted:
		return judgeUnexecuted(a)
	case status.FateExecuted:
		if a.Err.Code() != status.Unavailable {
			return StopError
		}
		return ifIdempotent(a, Unavailable)
	default:
		switch a.Err.Code() {
		case status.Unavailable, status.DeadlineExceeded, status.Unknown:
			return ifIdempotent(a, Unknown)
		default:
			return StopError
		}
	}
}

func judgeUnexecuted(a *Attempt) Reason {
	switch code := a.Err.Code(); {
	case code == status.ResourceExhausted:
		return Refused
	case a.NotTaken && !a.FreeUsed:
		return Resent
	case a.NotTaken:
		return Unexecuted
	case code == status.Unavailable, code == status.DeadlineExceeded, code == status.Aborted, code == status.Unknown:
		return Unexecuted
	default:
		return StopError
	}
}

func ifIdempotent(a *Attempt, why Reason) Reason {
	if a.Idempotent {
		return why
	}
	return StopUnsafe
}

// backoff returns the delay after that many attempts: uniform between 0 and a
// bound that doubles from Base to Max. The jitter is full, so that calls that
// failed together do not come back together.
func backoff(b policy.Backoff, made int, rand uint64) time.Duration {
	bound := max(b.Base, 0)
	for range made - 1 {
		if bound >= b.Max/2 {
			bound = b.Max
			break
		}
		bound *= 2
	}
	bound = max(min(bound, b.Max), 0)
	hi, _ := bits.Mul64(rand, uint64(bound)+1)
	return time.Duration(hi)
}

// NextAttempt is an attempt that is about to be made.
type NextAttempt struct {
	// Number is 1 for the first; a free resend repeats the number.
	Number int
	// Idempotent is what the owner declared of the method.
	Idempotent bool
	// OtherUntried says that after this one there would still be an endpoint
	// that the call has not tried.
	OtherUntried bool
	// Remaining is the time until the call's deadline, or NoDeadline.
	Remaining time.Duration
}

// AttemptTimeout returns how long the attempt may take: what remains of the
// call, or PerTryTimeout if that is less and another attempt would be possible
// when this one timed out. Else cutting it short could only turn a slow answer
// into a failure.
func AttemptTimeout(r Rules, n NextAttempt, b *Budget, now time.Duration) time.Duration {
	if r.PerTryTimeout <= 0 || r.PerTryTimeout >= n.Remaining {
		return n.Remaining
	}
	// An attempt that timed out may have been executed.
	if !n.Idempotent || n.Number >= r.attempts() || !n.OtherUntried || !b.Room(now) {
		return n.Remaining
	}
	return r.PerTryTimeout
}
