// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package policy

import "time"

// The bounds of values. What lies outside of them is never in force: a call
// policy's value falls back (Merge), anything else is refused (Validate).
// The API's own bounds are the same or narrower.
const (
	// MaxDuration bounds every timeout, backoff and interval, so that adding
	// one to a time cannot overflow.
	MaxDuration = 24 * time.Hour
	// MaxAttempts bounds retry.attempts, the first included.
	MaxAttempts = 100
	// MaxPercent bounds percentages.
	MaxPercent = 100
	// MaxCount bounds counts of rates, bursts and concurrent calls.
	MaxCount = 1_000_000_000
	// MaxMethodName is the longest Path.Method, in bytes.
	MaxMethodName = 253
	// MaxAddresses bounds the addresses of one endpoint.
	MaxAddresses = 16
	// MaxKinds bounds the kinds in an AsOf.
	MaxKinds = 32
	// MaxItemBytes bounds the encoding of one item.
	MaxItemBytes = 1 << 20

	// maxText bounds ids, names, zones and other free text, in bytes. An item's
	// id holds a method, a namespace and a name.
	maxText = 1024
	// maxWord bounds the words of enumerations.
	maxWord = 64
)

// Defaults is the one table of defaults: the weakest layer, under every policy.
// Merge applies it by itself. retry.perTryTimeout has no default.
func Defaults() Layer {
	timeout, attempts := 10*time.Second, int32(2)
	return Layer{
		Step: StepDefault,
		Fields: CallFields{
			Timeout:      &timeout,
			FailMode:     Failover,
			Attempts:     &attempts,
			Backoff:      &Backoff{Base: 10 * time.Millisecond, Max: time.Second},
			Budget:       &Budget{Percent: 20, Interval: 10 * time.Second},
			MinRetryRate: &Rate{Count: 10, Interval: time.Second},
			LoadBalancer: LeastRequest,
		},
	}
}
