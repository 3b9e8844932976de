// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package publish

import (
	"context"

	"github.com/fairlead/fairlead/rpcruntime"
	"github.com/fairlead/fairlead/rpcruntime/registry"
	"github.com/fairlead/fairlead/rpcruntime/status"
)

// errNoConn cannot be: every call comes on a connection.
var errNoConn = status.New(status.Internal, "the call did not come on a connection")

// nothing is the reply of a oneway method.
type nothing struct{}

// Mount registers the registry's methods with a server, once.
func (s *Service) Mount(srv *rpcruntime.Server) {
	rpcruntime.Handle(srv, registry.Path+"."+registry.MethodSubscribe,
		func(ctx context.Context, req *registry.SubscribeRequest) (*registry.SubscribeReply, error) {
			conn, ok := rpcruntime.ServerConnOf(ctx)
			if !ok {
				return nil, errNoConn
			}
			return s.Subscribe(ctx, conn, req)
		})
	rpcruntime.Handle(srv, registry.Path+"."+registry.MethodAck,
		func(ctx context.Context, req *registry.AckRequest) (*nothing, error) {
			conn, ok := rpcruntime.ServerConnOf(ctx)
			if !ok {
				return nil, errNoConn
			}
			s.Ack(conn, req)
			return new(nothing), nil
		})
	rpcruntime.Handle(srv, registry.Path+"."+registry.MethodRegister,
		func(ctx context.Context, req *registry.RegisterRequest) (*registry.RegisterReply, error) {
			conn, ok := rpcruntime.ServerConnOf(ctx)
			if !ok {
				return nil, errNoConn
			}
			return s.Register(conn, req)
		})
	rpcruntime.Handle(srv, registry.Path+"."+registry.MethodRenew,
		func(ctx context.Context, req *registry.RenewRequest) (*registry.RenewReply, error) {
			conn, ok := rpcruntime.ServerConnOf(ctx)
			if !ok {
				return nil, errNoConn
			}
			return s.Renew(ctx, conn, req)
		})
	rpcruntime.Handle(srv, registry.Path+"."+MethodSummary, s.Summary)
}
