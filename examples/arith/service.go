// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package arith

import (
	"context"
	"time"

	"github.com/fairlead/fairlead/rpcruntime"
	"github.com/fairlead/fairlead/rpcruntime/status"
)

// The methods.
const (
	Mul   = "Arith.Mul"
	Add   = "Arith.Add"
	Error = "Arith.Error"
	Sleep = "Arith.Sleep"
	Echo  = "Arith.Echo"
)

// Register gives the server the methods.
func Register(srv *rpcruntime.Server) {
	rpcruntime.Handle(srv, Mul, mul)
	rpcruntime.Handle(srv, Add, add)
	rpcruntime.Handle(srv, Error, fail)
	rpcruntime.Handle(srv, Sleep, sleep)
	rpcruntime.HandleRaw(srv, Echo, echo)
}

func mul(_ context.Context, args *Args) (*Reply, error) { return &Reply{C: args.A * args.B}, nil }

func add(_ context.Context, args *Args) (*Reply, error) { return &Reply{C: args.A + args.B}, nil }

// fail answers as a handler does that has found something wrong with the state
// of things: with a code that callers can act on, and a message for people.
func fail(_ context.Context, args *Args) (*Reply, error) {
	return nil, status.Errorf(status.FailedPrecondition, "Arith.Error fails on purpose, here with A=%d and B=%d", args.A, args.B)
}

// sleep sleeps for A milliseconds, unless the caller's deadline comes first.
func sleep(ctx context.Context, args *Args) (*Reply, error) {
	timer := time.NewTimer(time.Duration(args.A) * time.Millisecond)
	defer timer.Stop()
	select {
	case <-timer.C:
		return &Reply{C: args.A}, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func echo(_ context.Context, payload []byte) ([]byte, error) { return payload, nil }
