// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package rpcruntime

import (
	"context"
	"fmt"
	"reflect"
	"strings"

	"github.com/fairlead/fairlead/rpcruntime/codec"
	"github.com/fairlead/fairlead/rpcruntime/policy"
	"github.com/fairlead/fairlead/rpcruntime/wire"
)

// handler is one registered method.
type handler struct {
	name string // Path.Method
	pace *pace
	// decode reads an argument. Typed handlers know their type: no reflection.
	decode func(s *codec.Set, t codec.Type, payload []byte) (arg any, err error)
	// raw replies go back as they are.
	raw bool
	// invoke is the chain of interceptors around the user's function.
	invoke ServerInvoker
	// direct is the user's function of a raw handler without interceptors, which
	// spares its argument and its reply an allocation each; else nil.
	direct func(ctx context.Context, req []byte) ([]byte, error)
}

// Handle registers fn for the method Path.Method, in every codec of the runtime.
// Req and Resp are the message types themselves, not pointers to them. It
// panics if the name is malformed, reserved or taken: those are mistakes in the
// program, made at its start.
func Handle[Req, Resp any](srv *Server, method string, fn func(ctx context.Context, req *Req) (*Resp, error)) {
	mustBeValue[Req]("Handle", "argument")
	mustBeValue[Resp]("Handle", "reply")
	srv.register(handler{name: method, decode: func(s *codec.Set, t codec.Type, payload []byte) (any, error) {
		req := new(Req)
		return req, s.Decode(t, payload, req)
	}}, func(ctx context.Context, call *ServerCall) (any, error) {
		req, ok := call.Arg.(*Req)
		if !ok {
			return nil, fmt.Errorf("interceptor replaced the argument of %s by a %T: it must stay a %T", method, call.Arg, new(Req))
		}
		resp, err := fn(ctx, req)
		if resp == nil { // a nil pointer in an interface would not be nil
			return nil, err
		}
		return resp, err
	})
}

// HandleRaw registers fn for the method Path.Method. It gets the payload as it
// came, whatever its codec, and what it returns goes back as it is. fn may keep
// the slice that it gets, and must not change the one that it returned: large
// ones are written from where they are. It panics as Handle does.
func HandleRaw(srv *Server, method string, fn func(ctx context.Context, req []byte) ([]byte, error)) {
	h := handler{name: method, raw: true, decode: func(_ *codec.Set, _ codec.Type, payload []byte) (any, error) {
		return copied(payload), nil
	}}
	if len(srv.opts.interceptors) == 0 {
		h.direct = fn
	}
	srv.register(h, func(ctx context.Context, call *ServerCall) (any, error) {
		req, ok := call.Arg.([]byte)
		if !ok {
			return nil, fmt.Errorf("interceptor replaced the argument of %s by a %T: it must stay a []byte", method, call.Arg)
		}
		return fn(ctx, req)
	})
}

// copied returns a copy of b, which is not nil.
func copied(b []byte) []byte {
	c := make([]byte, len(b))
	copy(c, b)
	return c
}

// mustBeValue panics if T is a pointer or an interface.
func mustBeValue[T any](fn, what string) {
	if err := checkValue[T](fn, what); err != nil {
		panic(err) //nolint:forbidigo // a mistake in the program, found at its start
	}
}

func checkValue[T any](fn, what string) error {
	t := reflect.TypeFor[T]()
	switch t.Kind() {
	case reflect.Pointer:
		return fmt.Errorf("rpcruntime: %s: the %s type is %s: name the type itself, %s", fn, what, t, t.Elem())
	case reflect.Interface:
		return fmt.Errorf("rpcruntime: %s: the %s type is the interface %s: name a type that can be decoded into", fn, what, t)
	default:
		return nil
	}
}

// splitMethod splits Path.Method at the last dot and checks it.
func splitMethod(name string) (path, method string, err error) {
	if err := policy.ValidateMethodName(name); err != nil {
		return "", "", err
	}
	i := strings.LastIndexByte(name, '.')
	if i <= 0 || i == len(name)-1 {
		return "", "", fmt.Errorf("method %q is not of the form Path.Method, such as Arith.Mul", name)
	}
	return name[:i], name[i+1:], nil
}

// reserved reports whether a metadata key belongs to the protocol.
func reserved(key string) bool { return strings.HasPrefix(key, wire.ReservedPrefix) }

// reservedPath reports whether a path belongs to the protocol.
func reservedPath(path string) bool { return strings.HasPrefix(path, wire.ControlPath) }
