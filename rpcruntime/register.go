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
	var all []registration
	var unsuitable []string
	for i := range v.NumMethod() {
		m := v.Type().Method(i)
		if why := unsuitableFunc(v.Method(i).Type()); why != "" {
			unsuitable = append(unsuitable, m.Name+" ("+why+")")
			continue
		}
		all = append(all, reflected(path+"."+m.Name, v.Method(i)))
	}
	if len(all) == 0 {
		return fmt.Errorf("rpcruntime: %T has no method of the form func(context.Context, args, *reply) error: %s", rcvr, strings.Join(unsuitable, ", "))
	}
	if len(unsuitable) > 0 {
		s.rt.log.V(1).Info("methods not registered", "type", v.Type().String(), "methods", unsuitable)
	}
	return s.tryRegister(all...)
}

// RegisterMethods registers those methods of rcvr that are named, and no others,
// under path. It registers all of them or none, and returns an error that names
// every one that does not exist, or is not of the form that Register wants.
func (s *Server) RegisterMethods(path string, rcvr any, methods ...string) error {
	v := reflect.ValueOf(rcvr)
	switch {
	case !v.IsValid():
		return fmt.Errorf("rpcruntime: RegisterMethods: rcvr is nil: pass a value with methods")
	case len(methods) == 0:
		return fmt.Errorf("rpcruntime: RegisterMethods: no methods of %T are named: name them, or use RegisterName for all", rcvr)
	}
	var wrong []string
	all := make([]registration, 0, len(methods))
	for _, name := range methods {
		fn := v.MethodByName(name)
		if !fn.IsValid() {
			wrong = append(wrong, name+" (there is no exported method of that name)")
			continue
		}
		if why := unsuitableFunc(fn.Type()); why != "" {
			wrong = append(wrong, name+" ("+why+")")
			continue
		}
		all = append(all, reflected(path+"."+name, fn))
	}
	if len(wrong) > 0 {
		return fmt.Errorf("rpcruntime: RegisterMethods: %T: %s", rcvr, strings.Join(wrong, ", "))
	}
	return s.tryRegister(all...)
}

// RegisterFunction registers fn, of the form func(ctx context.Context, args A,
// reply *R) error, for the method Path.Method, as rpcx does. The path may have
// other methods already.
func (s *Server) RegisterFunction(method string, fn any) error {
	v := reflect.ValueOf(fn)
	if v.Kind() != reflect.Func || v.IsNil() {
		return fmt.Errorf("rpcruntime: RegisterFunction: %q is given a %T: pass a func(context.Context, args, *reply) error", method, fn)
	}
	if why := unsuitableFunc(v.Type()); why != "" {
		return fmt.Errorf("rpcruntime: RegisterFunction: %q is given a %T: %s", method, fn, why)
	}
	return s.tryRegister(reflected(method, v))
}

// reflected is what a function that was found suitable is registered as.
func reflected(method string, fn reflect.Value) registration {
	arg := fn.Type().In(1)
	return registration{handler{name: method, decode: reflectDecode(arg)}, reflectInvoke(fn, arg)}
}

// unsuitableFunc says why a function, or a method bound to its receiver, is not an
// RPC.
func unsuitableFunc(t reflect.Type) string {
	switch {
	case t.NumIn() != 3 || t.NumOut() != 1 || t.IsVariadic():
		return "needs three parameters and one result"
	case t.In(0) != reflect.TypeFor[context.Context]():
		return "the first parameter must be a context.Context"
	case t.In(2).Kind() != reflect.Pointer:
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
