// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package demo

import (
	"context"
	"fmt"
	"time"

	"github.com/fairlead/fairlead/rpcruntime/status"
)

// editPolicy shortens the timeout of Arith.Sleep and lengthens it again.
func (s *scene) editPolicy(ctx context.Context) error {
	if err := s.bites(ctx, longTimeout); err != nil {
		return err
	}
	for _, timeout := range []time.Duration{shortTimeout, longTimeout} {
		if err := s.edit(ctx, timeout); err != nil {
			return err
		}
	}
	return s.pause(ctx, s.cfg.Plan.Settle/2)
}

// edit writes the timeout of Arith.Sleep and waits until calls are made by it.
func (s *scene) edit(ctx context.Context, timeout time.Duration) error {
	began := time.Now()
	if err := s.files.writeTimeout(timeout); err != nil {
		return err
	}
	if err := s.bites(ctx, timeout); err != nil {
		return err
	}
	s.result.PolicyChanges++
	verb := "succeeds"
	if timeout < probeSleep {
		verb = "is given up"
	}
	s.ok("manifests/sleep.yaml says timeout %s: seen %s later; a call that takes %s now %s", timeout, millis(time.Since(began)), probeSleep, verb)
	return nil
}

// bites waits until probes end as they must under the timeout.
func (s *scene) bites(ctx context.Context, timeout time.Duration) error {
	var last error
	err := s.fleet.wait(ctx, fmt.Sprintf("the timeout of Arith.Sleep to be %s", timeout), func() bool {
		last = s.caller.probe(ctx)
		if timeout < probeSleep {
			return status.CodeOf(last) == status.DeadlineExceeded && ctx.Err() == nil
		}
		return last == nil
	})
	if err != nil {
		return fmt.Errorf("%w; the last call ended with: %v", err, last) //nolint:errorlint // nil is an answer, too
	}
	return nil
}
