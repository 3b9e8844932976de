// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package rpcruntime

import (
	"context"
	"errors"

	"github.com/fairlead/fairlead/rpcruntime/balancer"
	"github.com/fairlead/fairlead/rpcruntime/codec"
	"github.com/fairlead/fairlead/rpcruntime/internal/buffer"
	"github.com/fairlead/fairlead/rpcruntime/status"
	"github.com/fairlead/fairlead/rpcruntime/transport"
	"github.com/fairlead/fairlead/rpcruntime/wire"
)

// request makes the request that all attempts send. The buffer holds its payload.
func (o *outgoingCall) request(ctx context.Context) (*buffer.Buffer, error) {
	path, method, err := splitMethod(o.call.Method)
	if err != nil {
		return nil, status.Errorf(status.InvalidArgument, "rpc: %w", err).WithFate(status.FateUnexecuted)
	}
	if reservedPath(path) {
		return nil, status.Errorf(status.InvalidArgument, "rpc: method %q: paths that start with %q belong to the protocol", o.call.Method, wire.ControlPath).
			WithFate(status.FateUnexecuted)
	}
	md, err := outgoing(ctx)
	if err != nil {
		return nil, err
	}
	t, payload, buf, err := o.payload()
	if err != nil {
		return nil, o.badArgument(err)
	}
	compress := codec.CompressNone
	if len(payload) > codec.CompressAbove {
		compress = o.client.opts.compress
	}
	if compress != codec.CompressNone {
		plain := buf
		buf, err = o.compress(compress, payload)
		plain.Free() // nobody has seen it
		if err != nil {
			return nil, o.badArgument(err)
		}
		payload = buf.B
	}
	o.req = transport.Request{
		Path: path, Method: method, Serialize: wire.Serialize(t), Compress: wire.Compress(compress), Meta: md, Payload: payload, Oneway: o.call.Oneway,
	}
	return buf, nil
}

// payload returns the encoded argument, and the buffer that it is in; nil for
// bytes of the caller's own.
func (o *outgoingCall) payload() (codec.Type, []byte, *buffer.Buffer, error) {
	opts := &o.client.opts
	t := opts.codec
	if o.call.raw.mode != notRaw {
		if !opts.hasCodec {
			t = codec.TypeRaw
		}
		payload, buf, err := o.rawPayload()
		return t, payload, buf, err
	}
	if !opts.hasCodec {
		t = codec.TypeFor(o.call.Arg, o.call.Reply)
	}
	buf := encodeBuffer()
	payload, err := o.client.rt.codecs.Append(t, buf.B, o.call.Arg)
	if err != nil {
		buf.Free()
		return t, nil, nil, err
	}
	buf.B = payload
	return t, payload, buf, nil
}

func (o *outgoingCall) compress(t codec.CompressType, data []byte) (*buffer.Buffer, error) {
	buf := encodeBuffer()
	b, err := o.client.rt.codecs.Compress(t, buf.B, data)
	if err != nil {
		buf.Free()
		return nil, err
	}
	buf.B = b
	return buf, nil
}

func (o *outgoingCall) badArgument(err error) error {
	return status.Errorf(status.InvalidArgument, "rpc: %s %s: %w", o.client.service, o.call.Method, err).WithFate(status.FateUnexecuted)
}

// partialReply is a payload that came with an error: old servers send what their
// handler had filled in of its reply.
type partialReply struct {
	header  wire.Header
	payload []byte
}

// answered reads the answer of the endpoint.
func (o *outgoingCall) answered(state *balancer.EndpointState, result *transport.Result, extended bool) *status.Error {
	o.call.ReplyMetadata = replyMeta(result.Meta)
	o.client.sizes.note(o.call.Method, len(result.Payload))
	if result.Header.Status() == wire.StatusNormal {
		return o.decode(result)
	}
	failed := readError(result, extended)
	o.learn(state, failed)
	if len(result.Payload) > 0 && (o.call.Reply != nil || o.call.raw.mode != notRaw) {
		// Kept until it is known that no attempt follows: two replies must not mix.
		o.partial = &partialReply{result.Header, append([]byte(nil), result.Payload...)}
	}
	return failed
}

// decode fills the caller's reply. An empty payload leaves it as it is, as rpcx
// does.
func (o *outgoingCall) decode(result *transport.Result) *status.Error {
	if o.makeReply != nil {
		o.call.Reply = o.makeReply()
	}
	err := o.decodeReply(result.Header, result.Payload)
	if err == nil {
		return nil
	}
	code := status.Internal
	if errors.Is(err, codec.ErrTooLarge) {
		code = status.ResourceExhausted
	}
	return status.Errorf(code, "rpc: %s %s: %w", o.client.service, o.call.Method, err).WithFate(status.FateExecuted)
}

// decodeReply decodes into the caller's reply, if there is one.
func (o *outgoingCall) decodeReply(h wire.Header, payload []byte) error {
	switch {
	case o.call.raw.mode == rawDirect, o.call.raw.mode == rawSeen && o.call.Reply != nil:
		return o.takeRaw(h, payload)
	case o.call.Reply == nil:
		return nil
	default:
		return o.client.rt.decodeFrame(h, payload, o.call.Reply)
	}
}

// decodePartial fills the caller's reply with what came beside the error that
// the call ends with, if that decodes. docs/wire-protocol.md §2
func (o *outgoingCall) decodePartial() {
	if p := o.partial; p != nil {
		if err := o.decodeReply(p.header, p.payload); err != nil {
			o.client.rt.log.V(1).Info("what came beside an error does not decode", "service", o.client.service, "method", o.call.Method, "error", loggable(err.Error()))
		}
	}
}

// decodeFrame decodes a frame's payload.
func (rt *Runtime) decodeFrame(h wire.Header, payload []byte, into any) error {
	return rt.decode(codec.Type(h.Serialize()), codec.CompressType(h.Compress()), payload, into)
}

// decode decompresses and decodes, in the goroutine of whoever wants the value.
func (rt *Runtime) decode(t codec.Type, compress codec.CompressType, payload []byte, into any) error {
	if compress != codec.CompressNone && len(payload) > 0 {
		buf := buffer.Get(2 * len(payload))
		defer func() { buf.Free() }() // what it has become
		plain, err := rt.decompress(compress, buf.B, payload)
		if err != nil {
			return err
		}
		buf.B, payload = plain, plain
	}
	return rt.codecs.Decode(t, payload, into)
}
