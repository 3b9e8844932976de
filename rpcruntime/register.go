// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package rpcruntime

import (
	"context"
	"fmt"
	"reflect"
	"strings"

	"github.com/fairlead/fairlead/rpcruntime/codec"
)

// Register registers the exported methods of rcvr as rpcx does, under the name
// of its type: func(ctx context.Context, args A, reply *R) error, where A is a
// type or a pointer to one. It is there for services that move over; Handle is
// faster and checked by the compiler.
//
// It returns an error if no method has that form, naming those that come close,
// or if a name is malformed or taken.
func (s *Server) Register(rcvr any) error {
	t := reflect.TypeOf(rcvr)
	if t == nil {
		return fmt.Errorf("rpcruntime: Register: rcvr is nil: pass a value with methods")
	}
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	return s.RegisterName(t.Name(), rcvr)
}

// RegisterName is Register under another name.
func (s *Server) RegisterName(path string, rcvr any) error {
	v := reflect.ValueOf(rcvr)
	if !v.IsValid() {
		return fmt.Errorf("rpcruntime: RegisterName: rcvr is nil: pass a value with methods")
	}
	registered := 0
	var unsuitable []string
	for i := range v.NumMethod() {
		m := v.Type().Method(i)
		if why := unsuitableMethod(m.Type); why != "" {
			unsuitable = append(unsuitable, m.Name+" ("+why+")")
			continue
		}
		h := handler{name: path + "." + m.Name, decode: reflectDecode(m.Type.In(2))}
		if err := s.tryRegister(h, reflectInvoke(v.Method(i), m.Type.In(2))); err != nil {
			return err
		}
		registered++
	}
	if registered == 0 {
		return fmt.Errorf("rpcruntime: %T has no method of the form func(context.Context, args, *reply) error: %s", rcvr, strings.Join(unsuitable, ", "))
	}
	if len(unsuitable) > 0 {
		s.rt.log.V(1).Info("methods not registered", "type", v.Type().String(), "methods", unsuitable)
	}
	return nil
}

// unsuitableMethod says why a method with its receiver is not an RPC.
func unsuitableMethod(t reflect.Type) string {
	switch {
	case t.NumIn() != 4 || t.NumOut() != 1:
		return "needs three parameters and one result"
	case t.In(1) != reflect.TypeFor[context.Context]():
		return "the first parameter must be a context.Context"
	case t.In(3).Kind() != reflect.Pointer:
		return "the third parameter must be a pointer"
	case t.Out(0) != reflect.TypeFor[error]():
		return "the result must be an error"
	default:
		return ""
	}
}

// reflectDecode decodes an argument of the type arg, and returns a pointer to it.
func reflectDecode(arg reflect.Type) func(*codec.Set, codec.Type, []byte) (any, error) {
	elem := arg
	if arg.Kind() == reflect.Pointer {
		elem = arg.Elem()
	}
	return func(s *codec.Set, t codec.Type, payload []byte) (any, error) {
		p := reflect.New(elem)
		err := s.Decode(t, payload, p.Interface())
		return p.Interface(), err
	}
}

func reflectInvoke(fn reflect.Value, arg reflect.Type) ServerInvoker {
	reply := fn.Type().In(2).Elem()
	return func(ctx context.Context, call *ServerCall) (any, error) {
		in := reflect.ValueOf(call.Arg)
		if arg.Kind() != reflect.Pointer && in.Kind() == reflect.Pointer {
			in = in.Elem()
		}
		if !in.IsValid() || !in.Type().AssignableTo(arg) {
			return nil, fmt.Errorf("interceptor replaced the argument of %s by a %T: it must stay a %s", call.Method, call.Arg, arg)
		}
		out := reflect.New(reply)
		result := fn.Call([]reflect.Value{reflect.ValueOf(ctx), in, out})[0]
		if err, ok := result.Interface().(error); ok && err != nil {
			return nil, err
		}
		return out.Interface(), nil
	}
}
