// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package rpcruntime

import "context"

// Oneshot sends a call whose callee answers nothing, not even errors: nil says
// that the request has left this process whole, and no more. A request that
// surely did not leave, or was surely refused unread, is sent again as the policy
// allows; one that left never is, even if its method is idempotent. The callee is
// told the deadline. Nothing but the time until the request has left can be
// cancelled.
func Oneshot(ctx context.Context, c *Client, method string, arg any, opts ...CallOption) error {
	return c.do(ctx, &ClientCall{Method: method, Arg: arg, Oneway: true}, opts)
}
