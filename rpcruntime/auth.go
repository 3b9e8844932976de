// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package rpcruntime

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"

	"github.com/fairlead/fairlead/rpcruntime/status"
	"github.com/fairlead/fairlead/rpcruntime/transport"
	"github.com/fairlead/fairlead/rpcruntime/wire"
)

// AuthRequest is what an Authenticator judges: one request, before anything else
// has looked at it.
type AuthRequest struct {
	// Token is what the caller sent under rpcx's key __AUTH; empty if it sent none.
	Token string
	// Method is Path.Method as the caller wrote it: it need not exist.
	Method string
	// Peer is who calls, as far as the connection tells: a declared name, and the
	// certificate of a caller that showed one.
	Peer Peer
}

// Authenticator says who makes a call, or why it is refused. The name that it
// returns, unless empty, becomes that of the call's Peer, with PeerToken as its
// source, and limits by caller go by it. An error that is a *status.Error goes to
// the caller as it is; any other becomes Unauthenticated. The call is refused
// unexecuted, and the connection goes on.
//
// It is called for each request, by the reader of the request's connection, which
// reads nothing else meanwhile: it must not wait for others for long. ctx has the
// values of the server's context. It is called by many goroutines at once, keeps
// req no longer than it runs, and must not put the token into its error.
type Authenticator func(ctx context.Context, req *AuthRequest) (name string, err error)

// Authenticate makes every call, of whatever way it came, pass a. Heartbeats and
// control frames are not calls. Without it every call is served.
func Authenticate(a Authenticator) ServerOption {
	return serverOption(func(o *serverOptions) { o.authenticator = a })
}

// reasonAuth is told to the observer; the caller sees it from the code.
const reasonAuth = "auth"

// authenticate returns the peer of one request, or why that is refused.
func (s *Server) authenticate(in *transport.Inbound, peer Peer) (_ Peer, refusal *status.Error) {
	if s.opts.authenticator == nil {
		return peer, nil
	}
	method := string(in.Path) + "." + string(in.Method)
	defer func() {
		if p := recover(); p != nil {
			s.rt.log.Error(fmt.Errorf("%v", p), "authenticator panicked", "method", loggable(method), "peer", peer.Addr, "stack", string(debug.Stack()))
			refusal = status.New(status.Internal, "the authenticator panicked; its server's log says more")
		}
	}()
	token, _ := in.Meta.Get(wire.KeyAuth)
	name, err := s.opts.authenticator(s.values, &AuthRequest{Token: string(token), Method: method, Peer: peer})
	if err != nil {
		return peer, authError(err)
	}
	if name != "" {
		peer.Name, peer.Source = name, PeerToken
	}
	return peer, nil
}

func authError(err error) *status.Error {
	var e *status.Error
	if errors.As(err, &e) {
		return boundedText(e)
	}
	return boundedText(status.Errorf(status.Unauthenticated, "authentication failed: %w", err))
}
