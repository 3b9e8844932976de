// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package rpcxpeer

import (
	"context"
	"maps"
)

type carriedKey struct{}

// carried is the metadata that a context carries, as rpcx keeps it there: the
// request's goes out with every call under the context, and what comes back
// beside an answer is put into the response's.
type carried struct{ request, response map[string]string }

// WithMeta returns a context whose calls send request, and put what comes back
// into response. Either may be nil. A context whose response is not nil is for
// one call at a time.
func WithMeta(ctx context.Context, request, response map[string]string) context.Context {
	return context.WithValue(ctx, carriedKey{}, &carried{request, response})
}

// RequestMeta returns what calls under ctx send: in a handler's context that is
// what came with the request.
func RequestMeta(ctx context.Context) map[string]string { return carriedBy(ctx).request }

// ResponseMeta returns the map that a handler fills to send something back.
func ResponseMeta(ctx context.Context) map[string]string { return carriedBy(ctx).response }

func carriedBy(ctx context.Context) *carried {
	if c, ok := ctx.Value(carriedKey{}).(*carried); ok {
		return c
	}
	return &carried{}
}

// withKey returns ctx with one more key to send.
func withKey(ctx context.Context, key, value string) context.Context {
	c := carriedBy(ctx)
	request := make(map[string]string, len(c.request)+1)
	maps.Copy(request, c.request)
	request[key] = value
	return WithMeta(ctx, request, c.response)
}
