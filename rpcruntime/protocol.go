// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package rpcruntime

import (
	"context"
	"maps"
	"net"
	"time"

	"github.com/fairlead/fairlead/rpcruntime/codec"
	"github.com/fairlead/fairlead/rpcruntime/status"
	"github.com/fairlead/fairlead/rpcruntime/transport"
	"github.com/fairlead/fairlead/rpcruntime/wire"
)

// Protocol is another protocol on the server's own port, such as HTTP. It turns
// what it reads into calls for Server.Do.
type Protocol interface {
	// Match says whether a connection is the protocol's, by its first byte; inside
	// TLS by the first byte there. It must not block.
	Match(first byte) bool
	// Serve takes the protocol's connections from ln until that is closed, when
	// Accept fails with net.ErrClosed; then it returns. It is called once, when the
	// server begins to serve. The connections give back the byte that was read of
	// them; those with TLS have the method ConnectionState of a *tls.Conn, which
	// they are not.
	Serve(ln net.Listener, srv *Server) error
	// Shutdown is called once, when the server drains: it takes nothing new, and
	// waits for what it has begun until ctx ends. What is left of its connections
	// then, the server closes.
	Shutdown(ctx context.Context) error
}

// WithProtocol makes a server take p's connections on its port too. The server's
// own come first, then the protocols in the order in which they were given. A
// connection whose first byte does not come within 10 s is closed then.
func WithProtocol(p Protocol) ServerOption {
	return serverOption(func(o *serverOptions) { o.protocols = append(o.protocols, p) })
}

// ForeignCall is a call that came by another way than the server's own
// connections.
type ForeignCall struct {
	// Path and Method name what is called.
	Path, Method string
	// Codec says how Payload is encoded, and how the reply will be.
	Codec codec.Type
	// Compress says how Payload is compressed. A reply of more than 1,024 bytes
	// will be compressed in the same way.
	Compress codec.CompressType
	// Metadata is for the handler; keys that start with "__fl" do not reach it.
	Metadata Metadata
	// Token is for the server's Authenticator. Empty: what Metadata has under
	// rpcx's key for it.
	Token string
	// Payload is the encoded argument. Server.Do does not keep it.
	Payload []byte
	// Oneway: nobody waits for the handler.
	Oneway bool
	// Timeout is what the caller leaves the call, from now. 0 is none but that of
	// the context; below 0 it has passed already.
	Timeout time.Duration
	// Peer is who calls, as far as the other way tells.
	Peer Peer
}

// ForeignReply is how a ForeignCall ended. It is the caller's own.
type ForeignReply struct {
	// Metadata is what the handler sent beside its reply or error; nil if nothing.
	Metadata Metadata
	// Payload is the encoded reply; Compress says how it is compressed.
	Payload  []byte
	Compress codec.CompressType
	// Err is why the call failed; nil for a success.
	Err *status.Error
	// Unexecuted: no handler and no interceptor saw the call.
	Unexecuted bool
}

// Do makes a call that came by another way go the way of every call: through
// authentication, bounds, limits and interceptors to its handler. The end of ctx
// ends the handler's context; Do returns when the handler has. A oneway call is
// only refused or taken when Do returns, and outlives ctx. A drain waits for the
// calls that were taken. Before Serve and after a drain every call is refused.
func (s *Server) Do(ctx context.Context, call *ForeignCall) *ForeignReply {
	if err := ctx.Err(); err != nil {
		return refusedReply(status.Convert(err))
	}
	if call.Oneway {
		ctx = context.WithoutCancel(ctx)
	}
	f := &foreignCall{srv: s, reply: make(chan *ForeignReply, 1)}
	f.ctx, f.cancel = context.WithCancel(ctx)
	if e := s.loose.add(f); e != nil {
		f.cancel()
		return refusedReply(e)
	}
	in, e := s.inbound(ctx, call, f)
	if e != nil {
		f.end()
		s.rt.observer.Refused(RefusedEvent{Path: call.Path, Method: call.Method, Code: e.Code(), Reason: wire.ReasonLimit})
		return refusedReply(e)
	}
	s.dispatch(in, &inboundConn{srv: s, peer: call.Peer, foreign: f})
	if call.Oneway && f.taken {
		return &ForeignReply{}
	}
	return <-f.reply
}

func refusedReply(e *status.Error) *ForeignReply {
	return &ForeignReply{Err: e.WithFate(status.FateUnexecuted), Unexecuted: true}
}

// inbound makes a request of a call, if it keeps within the limits that hold for
// the frames of connections.
func (s *Server) inbound(ctx context.Context, call *ForeignCall, f *foreignCall) (*transport.Inbound, *status.Error) {
	if call.Codec > codec.MaxType {
		return nil, status.New(status.Unimplemented, (&codec.UnknownTypeError{Type: call.Codec}).Error())
	}
	if call.Compress > codec.MaxCompressType {
		return nil, status.New(status.Unimplemented, (&codec.UnknownCompressError{Type: call.Compress}).Error())
	}
	meta := metaBlock(call.Metadata, call.Token)
	limits := s.opts.transport.Limits.WithDefaults()
	frame := wire.Frame{Path: []byte(call.Path), Method: []byte(call.Method), Meta: meta, Payload: call.Payload}
	size := wire.FrameLen(len(call.Path), len(call.Method), len(meta), len(call.Payload))
	if err := limits.CheckSize(uint64(size)); err != nil {
		return nil, status.New(status.ResourceExhausted, "request: "+err.Error())
	}
	if err := limits.Check(frame); err != nil {
		return nil, status.New(status.ResourceExhausted, "request: "+err.Error())
	}
	if !f.reserve(int64(len(meta) + len(call.Payload))) {
		return nil, s.tooManyBytes()
	}
	payload := call.Payload
	if call.Oneway { // it outlives Do
		payload = append([]byte(nil), payload...)
	}
	h := wire.RequestHeader(0, wire.Serialize(call.Codec), call.Oneway).WithCompress(wire.Compress(call.Compress))
	in := transport.NewInbound(h, call.Path, call.Method, payload, f.answer)
	in.Meta, in.Timeout = meta, call.Timeout
	if in.Timeout < 0 {
		in.Timeout = 1 // spent already: expires at once
	}
	if by, ok := ctx.Deadline(); ok {
		if left := max(time.Until(by), 1); in.Timeout == 0 || left < in.Timeout {
			in.Timeout = left
		}
	}
	return in, nil
}

// metaBlock writes metadata as a frame has it. Of two tokens the second counts.
func metaBlock(md Metadata, token string) wire.Meta {
	if len(md) == 0 && token == "" {
		return nil
	}
	b := wire.Begin(nil, wire.Header{}, "", "")
	for k, v := range md {
		b.Meta(k, v)
	}
	if token != "" {
		b.Meta(wire.KeyAuth, token)
	}
	f, err := wire.Parse(b.Payload(nil))
	if err != nil {
		return nil // not with a frame of our own making
	}
	return f.Meta
}

// foreignCall is a ForeignCall on its way.
//
// Invariant: reply gets one value, when the request is answered.
type foreignCall struct {
	srv    *Server
	ctx    context.Context //nolint:containedctx // the call's own
	cancel context.CancelFunc
	reply  chan *ForeignReply // of capacity 1
	// taken: it was handed to a worker. stop ends what tells it of ctx's end. Both
	// are written before that.
	taken bool
	stop  func() bool
	// reserved are the bytes that it accounts for. Written by whoever has the call.
	reserved int64
}

// take makes the end of the call's context that of the handler's.
func (f *foreignCall) take(c *callContext) {
	f.taken = true
	f.stop = context.AfterFunc(f.ctx, c.Cancelled)
}

// answer takes the answer of the request.
func (f *foreignCall) answer(a transport.Answer) {
	r := &ForeignReply{Metadata: maps.Clone(a.Meta), Compress: codec.CompressType(a.Compress)}
	switch {
	case a.Err != nil:
		r.Err = withRetry(a.Err.WithFate(status.FateExecuted), a.Mark)
		r.Unexecuted = a.Mark.Word == wire.RetryUnexecuted
	case len(a.Payload) < maxEncodedKept:
		r.Payload = append([]byte(nil), a.Payload...)
	default:
		r.Payload = a.Payload // such ones are lent to nobody again
	}
	if f.stop != nil {
		f.stop()
	}
	f.end()
	f.reply <- r
}

// reserve accounts for n more bytes, or fewer if n is negative.
func (f *foreignCall) reserve(n int64) bool {
	if !f.srv.shared.Reserve(n) {
		return false
	}
	f.reserved += n
	return true
}

// cut ends the call's context.
func (f *foreignCall) cut() { f.cancel() }

// end gives back what the call holds of its server.
func (f *foreignCall) end() {
	f.cancel()
	f.srv.shared.Release(f.reserved)
	f.srv.loose.remove(f)
}
