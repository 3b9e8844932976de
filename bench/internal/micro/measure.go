// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package micro

import (
	"context"
	"errors"
	"time"

	"github.com/fairlead/fairlead/bench/internal/result"
)

// A quick run opens few idle connections and does not wait until they rest.
const (
	quickConns = 1000
	quickRest  = 2 * time.Second
)

// idleRounds are fewer than the others, as memory hardly differs between them.
const idleRounds = 2

// Measure measures everything: in about two minutes, or quickly, with fewer rounds
// and fewer idle connections, in about ten seconds. What fails is left out of the
// values and told in the error; the rest is good.
func Measure(ctx context.Context, quick bool) ([]result.Value, error) {
	rounds, idle, conns, rest := 3, idleRounds, IdleConns, IdleRest
	if quick {
		rounds, idle, conns, rest = 1, 1, quickConns, quickRest
	}
	values, errPick := Pick(rounds)
	change, errChange := EndpointChange(rounds)
	allocs, errAllocs := CallAllocations(ctx, rounds)
	values = append(append(values, change...), allocs...)
	errs := []error{errPick, errChange, errAllocs}
	for _, overTLS := range []bool{false, true} {
		v, err := IdleConnections(ctx, conns, idle, overTLS, rest)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		values = append(values, v)
	}
	return values, errors.Join(errs...)
}
