// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package rpcruntime

import (
	"context"
	"errors"
	"os"

	"github.com/fairlead/fairlead/rpcruntime/codec"
	"github.com/fairlead/fairlead/rpcruntime/status"
	"github.com/fairlead/fairlead/rpcruntime/wire"
)

// PushConn is the way back to a caller, for messages that it did not ask for, as
// rpcx's SendMessage sends them. Each connection has one, the same for all of its
// calls, so it can be a key of a map. All methods are safe for concurrent use.
type PushConn inboundConn

// PushConnOf returns the way back to the caller whose call a handler serves. It
// may be kept after the handler returned. ok is false outside of a handler, and
// for calls that came by another way than a connection of ours.
//
// A connection to an old peer that was asked for its PushConn is never closed as
// idle: old clients wait for pushes without a word.
func PushConnOf(ctx context.Context) (_ *PushConn, ok bool) {
	c, ok := handling(ctx)
	if !ok || c.conn.conn == nil {
		return nil, false
	}
	if c.conn.conn.Peer() == nil {
		c.conn.conn.SetSubscribed(true)
	}
	return (*PushConn)(c.conn), true
}

// PushOption sets up one push.
type PushOption interface{ applyPush(*pushOptions) }

type pushOptions struct {
	codec    codec.Type
	hasCodec bool
}

type pushOption func(*pushOptions)

func (f pushOption) applyPush(o *pushOptions) { f(o) }

// PushCodec sets how the message is encoded. Without it its type decides, as for
// a call: old rpcx programs expect []byte, as it is.
func PushCodec(t codec.Type) PushOption {
	return pushOption(func(o *pushOptions) { o.codec, o.hasCodec = t, true })
}

// Push sends v as the method Path.Method. nil means that the connection has taken
// the message: nobody can say whether it arrives, for pushes have no answer. It
// waits for room until ctx ends. Errors are *status.Error and say that nothing
// was sent: InvalidArgument for a name or a value that cannot be sent, Unavailable
// when the connection is over, ResourceExhausted, DeadlineExceeded or Canceled
// when there was no room until ctx ended.
func (p *PushConn) Push(ctx context.Context, method string, v any, opts ...PushOption) error {
	var o pushOptions
	for _, opt := range opts {
		opt.applyPush(&o)
	}
	if !o.hasCodec {
		o.codec = codec.TypeFor(v, nil)
	}
	path, name, err := splitMethod(method)
	if err != nil {
		return unsent(status.New(status.InvalidArgument, "push: "+err.Error()))
	}
	if reservedPath(path) {
		return unsent(status.Errorf(status.InvalidArgument, "push %q: paths that start with %q belong to the protocol; choose another", method, wire.ControlPath))
	}
	buf := encodeBuffer()
	payload, err := p.srv.rt.codecs.Append(o.codec, buf.B, v)
	if err != nil {
		buf.Free()
		return unsent(status.Errorf(status.InvalidArgument, "push %s: %w", method, err))
	}
	buf.B = payload
	err = p.conn.Push(ctx, wire.Serialize(o.codec), path, name, payload)
	freeEncoded(buf)
	if err != nil {
		return p.pushError(ctx, method, err)
	}
	return nil
}

// pushError says why the connection did not take a message.
func (p *PushConn) pushError(ctx context.Context, method string, err error) error {
	ended := ctx.Err()
	if ended == nil && errors.Is(err, os.ErrDeadlineExceeded) {
		ended = context.DeadlineExceeded
	}
	switch {
	case ended != nil && p.conn.Err() == nil:
		return unsent(status.Errorf(status.Convert(ended).Code(), "push %s: no room on the connection to %s: it does not read fast enough: %w", method, p.peer.Addr, ended))
	default:
		return unsent(status.Errorf(status.Unavailable, "push %s: the connection to %s is over: %w", method, p.peer.Addr, err))
	}
}

func unsent(e *status.Error) error { return e.WithFate(status.FateUnexecuted) }

// Done is closed when the connection is over.
func (p *PushConn) Done() <-chan struct{} { return p.conn.Done() }

// Peer returns who is at the other end of the connection. Its name is the one
// declared: an Authenticator names calls, not connections.
func (p *PushConn) Peer() Peer { return p.peer }
