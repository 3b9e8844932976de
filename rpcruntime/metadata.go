// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package rpcruntime

import (
	"context"
	"maps"
	"strings"
	"sync"

	"github.com/fairlead/fairlead/rpcruntime/status"
	"github.com/fairlead/fairlead/rpcruntime/wire"
)

// Metadata travels with a call, in both directions. Keys that start with "__"
// belong to the protocol: a call that sets one is refused.
type Metadata map[string]string

type outgoingKey struct{}

// WithMetadata returns a context whose calls carry md, added to what ctx carries
// already. md is copied. Metadata that a handler received is not passed on
// unless the handler does so here.
func WithMetadata(ctx context.Context, md Metadata) context.Context {
	merged := maps.Clone(md)
	if old, ok := ctx.Value(outgoingKey{}).(Metadata); ok {
		merged = maps.Clone(old)
		maps.Copy(merged, md)
	}
	return context.WithValue(ctx, outgoingKey{}, merged)
}

// outgoing returns the metadata that calls under ctx carry, checked.
func outgoing(ctx context.Context) (Metadata, error) {
	md, _ := ctx.Value(outgoingKey{}).(Metadata)
	for k := range md {
		if strings.HasPrefix(k, wire.ReservedPrefix) {
			return nil, status.Errorf(status.InvalidArgument, "metadata key %q: keys that start with %q belong to the protocol; choose another", k, wire.ReservedPrefix).
				WithFate(status.FateUnexecuted)
		}
	}
	return md, nil
}

// userMetadata copies what of a frame's metadata is for users: rpcx's keys are
// kept, ours end at this hop. It returns nil if there is none.
func userMetadata(m wire.Meta) Metadata {
	var md Metadata
	for k, v := range m.All() {
		if strings.HasPrefix(string(k), wire.HopPrefix) {
			continue
		}
		if md == nil {
			md = make(Metadata)
		}
		md[string(k)] = string(v)
	}
	return md
}

// replyMetadata collects what a handler sends back beside its reply. Handlers
// may start goroutines, so it is locked.
type replyMetadata struct {
	mu sync.Mutex
	md Metadata
}

func (r *replyMetadata) set(key, value string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.md == nil {
		r.md = make(Metadata)
	}
	r.md[key] = value
}

// take returns what was set; what is set later is lost.
func (r *replyMetadata) take() Metadata {
	r.mu.Lock()
	defer r.mu.Unlock()
	md := r.md
	r.md = nil
	return md
}
