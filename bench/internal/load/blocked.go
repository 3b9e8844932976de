// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package load

import (
	"context"
	"errors"
	"sync"

	"github.com/fairlead/fairlead/bench/internal/peer"
)

// Blocked is Closed beside so many callers whose handlers block for a second
// each, over and over. The outcome is that of the others alone.
func Blocked(ctx context.Context, j Job, blockers int) (*Outcome, error) {
	slow := j
	slow.Handler = peer.Block
	loops, err := slow.loops(blockers)
	if err != nil {
		return nil, errors.Join(err, closeLoops(loops))
	}
	var running sync.WaitGroup
	running.Go(func() { runAll(ctx, loops, j.Duration) })
	out, err := Closed(ctx, j)
	running.Wait()
	if err != nil {
		return nil, errors.Join(err, closeLoops(loops))
	}
	blocked := sum(loops)
	if out.Errors += blocked.Errors; out.Failure == nil {
		out.Failure = blocked.Failure
	}
	if blocked.Calls == 0 {
		err = errors.New("no call blocked")
	}
	return out, errors.Join(err, closeLoops(loops))
}
