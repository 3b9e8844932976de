// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package arith

import (
	"context"
	"log/slog"

	"github.com/fairlead/fairlead/rpcruntime"
)

// Pushed is what the messages of PushAfterEachCall are called.
const Pushed = "Arith.Pushed"

// PushAfterEachCall sends whoever made a call a message of raw bytes when its
// handler has returned: "served METHOD". Callers that came by another way than a
// connection of their own get none.
func PushAfterEachCall(log *slog.Logger) rpcruntime.ServerInterceptor {
	return func(next rpcruntime.ServerInvoker) rpcruntime.ServerInvoker {
		return func(ctx context.Context, call *rpcruntime.ServerCall) (any, error) {
			reply, err := next(ctx, call)
			if conn, ok := rpcruntime.PushConnOf(ctx); ok {
				if failed := conn.Push(ctx, Pushed, []byte("served "+call.Method)); failed != nil {
					log.Warn("push failed", "caller", call.Peer.Addr, "error", failed) // the call is none the worse for it
				}
			}
			return reply, err
		}
	}
}
