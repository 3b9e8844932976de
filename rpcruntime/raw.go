// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package rpcruntime

import (
	"context"
	"errors"
	"fmt"

	"github.com/fairlead/fairlead/rpcruntime/codec"
	"github.com/fairlead/fairlead/rpcruntime/internal/buffer"
	"github.com/fairlead/fairlead/rpcruntime/wire"
)

// CallRaw is the caller's side of HandleRaw: payload goes out as it is, marked as
// raw, or as of the client's codec if WithCodec names one, and the reply comes
// back as it is, appended to reply, whatever its codec. Both are compressed on
// the way as those of other calls are. With room enough in reply the call
// allocates nothing; a nil reply is made as large as it must be.
//
// payload must not be changed while the call runs, and one of 64 KiB or more not
// afterwards either: it is written from where it is, perhaps after a call that
// was given up has returned. reply is the caller's own again when the call
// returns.
//
// Interceptors see payload as Arg, and as Reply a *[]byte for what comes back.
// Errors are *status.Error; what is returned beside one is reply, and behind it
// what came with the error, mostly nothing.
func CallRaw(ctx context.Context, c *Client, method string, payload, reply []byte, opts ...CallOption) ([]byte, error) {
	call := ClientCall{Method: method, raw: rawCall{mode: rawDirect, payload: payload, reply: reply}}
	err := c.do(ctx, &call, opts)
	return call.raw.reply, err
}

// rawCall is what a ClientCall of CallRaw has instead of Arg and Reply, in which
// a slice would cost an allocation.
type rawCall struct {
	mode           rawMode
	payload, reply []byte
}

type rawMode uint8

const (
	notRaw rawMode = iota
	rawDirect
	// rawSeen: interceptors see the call, so Arg and Reply are used all the same.
	rawSeen
)

// show makes a raw call one that interceptors can see. It returns what takes their
// reply.
func (c *ClientCall) show() *[]byte {
	got := new([]byte)
	c.Arg, c.Reply = c.raw.payload, got
	c.raw = rawCall{mode: rawSeen}
	return got
}

// rawPayload returns what is sent, and the buffer that it is in; nil for the
// caller's own slice.
func (o *outgoingCall) rawPayload() ([]byte, *buffer.Buffer, error) {
	if o.call.raw.mode == rawDirect {
		return o.call.raw.payload, nil, nil
	}
	buf := encodeBuffer()
	payload, err := codec.Raw{}.Append(buf.B, o.call.Arg)
	if err != nil {
		buf.Free()
		return nil, nil, fmt.Errorf("an interceptor made the argument of CallRaw a %T: %w", o.call.Arg, err)
	}
	buf.B = payload
	return payload, buf, nil
}

// takeRaw takes the payload of an answer as the reply.
func (o *outgoingCall) takeRaw(h wire.Header, payload []byte) error {
	into := o.call.raw.reply
	if c := codec.CompressType(h.Compress()); c != codec.CompressNone && len(payload) > 0 {
		var err error
		if into, err = o.client.rt.decompress(c, into, payload); err != nil {
			return err
		}
	} else {
		into = append(into, payload...)
	}
	if o.call.raw.mode == rawDirect {
		o.call.raw.reply = into
		return nil
	}
	if err := (codec.Raw{}).Decode(into, o.call.Reply); err != nil {
		return fmt.Errorf("an interceptor made the reply of CallRaw a %T: %w", o.call.Reply, err)
	}
	return nil
}

// decompress appends what payload holds to dst.
func (rt *Runtime) decompress(c codec.CompressType, dst, payload []byte) ([]byte, error) {
	limit := rt.opts.limits.WithDefaults().DecompressedBytes
	plain, err := rt.codecs.Decompress(c, dst, payload, limit)
	if errors.Is(err, codec.ErrTooLarge) {
		err = fmt.Errorf("%w, which is %d bytes", err, limit)
	}
	return plain, err
}
