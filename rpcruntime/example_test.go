// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package rpcruntime_test

import (
	"context"
	"fmt"
	"net"
	"time"

	"github.com/fairlead/fairlead/rpcruntime"
	"github.com/fairlead/fairlead/rpcruntime/policy"
	"github.com/fairlead/fairlead/rpcruntime/status"
)

type Args struct{ A, B int }

type Reply struct{ C int }

func mul(_ context.Context, args *Args) (*Reply, error) {
	return &Reply{C: args.A * args.B}, nil
}

// Div is typed and resolved once, for all who call it.
var Div = rpcruntime.Method[Args, Reply]("Arith.Div")

func div(_ context.Context, args *Args) (*Reply, error) {
	if args.B == 0 {
		return nil, status.New(status.InvalidArgument, "B is 0: nothing can be divided by it")
	}
	return &Reply{C: args.A / args.B}, nil
}

// serve runs an arith server on a free port of this machine, until stop. The
// examples share it; Example_server shows how a program does it.
func serve(opts ...rpcruntime.ServerOption) (rt *rpcruntime.Runtime, address string, stop func()) {
	rt, err := rpcruntime.New(rpcruntime.WithoutRegistry())
	if err != nil {
		panic(err)
	}
	srv := rt.NewServer(opts...)
	rpcruntime.Handle(srv, "Arith.Mul", mul)
	rpcruntime.Handle(srv, Div.Name(), div)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- srv.Serve(ctx, ln) }()
	return rt, ln.Addr().String(), func() {
		cancel()
		if err := <-served; err != nil {
			panic(err)
		}
		if err := rt.Close(context.Background()); err != nil {
			panic(err)
		}
	}
}

// A server registers functions under names, and serves until its context ends.
// That starts the drain: what was read is answered, callers go elsewhere.
func Example_server() {
	rt, err := rpcruntime.New(rpcruntime.WithoutRegistry())
	if err != nil {
		fmt.Println(err)
		return
	}
	defer rt.Close(context.Background())

	srv := rt.NewServer()
	rpcruntime.Handle(srv, "Arith.Mul", mul) // func(context.Context, *Args) (*Reply, error)

	ctx, stop := context.WithTimeout(context.Background(), 50*time.Millisecond) // in a program: signal.NotifyContext
	defer stop()
	fmt.Println("drained:", srv.ListenAndServe(ctx, "127.0.0.1:0"))
	// Output:
	// drained: <nil>
}

// A caller with fixed endpoints, where no registry is.
func ExampleCall() {
	rt, address, stop := serve()
	defer stop()

	arith := rt.NewClient("arith", rpcruntime.Endpoints(address))
	reply, err := rpcruntime.Call[Reply](context.Background(), arith, "Arith.Mul", &Args{A: 6, B: 7})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(reply.C)
	// Output:
	// 42
}

// CallInto uses a reply of one's own again; nil drops the reply.
func ExampleCallInto() {
	rt, address, stop := serve()
	defer stop()
	arith := rt.NewClient("arith", rpcruntime.Endpoints(address))

	var reply Reply
	for i := range 3 {
		if err := rpcruntime.CallInto(context.Background(), arith, "Arith.Mul", &Args{A: i, B: i}, &reply); err != nil {
			fmt.Println(err)
			return
		}
		fmt.Println(reply.C)
	}
	// Output:
	// 0
	// 1
	// 4
}

// Go makes a call and goes on; Result waits for it.
func ExampleGo() {
	rt, address, stop := serve()
	defer stop()
	arith := rt.NewClient("arith", rpcruntime.Endpoints(address))

	six := rpcruntime.Go[Reply](context.Background(), arith, "Arith.Mul", &Args{A: 2, B: 3})
	twenty := rpcruntime.Go[Reply](context.Background(), arith, "Arith.Mul", &Args{A: 4, B: 5})
	for _, pending := range []*rpcruntime.Pending[Reply]{six, twenty} {
		reply, err := pending.Result()
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Println(reply.C)
	}
	// Output:
	// 6
	// 20
}

// A typed method, usually a variable of the package, is checked by the compiler
// at every call.
func ExampleMethod() {
	rt, address, stop := serve()
	defer stop()
	arith := rt.NewClient("arith", rpcruntime.Endpoints(address))

	reply, err := Div.Call(context.Background(), arith, &Args{A: 84, B: 2})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(Div.Name(), reply.C)
	// Output:
	// Arith.Div 42
}

// Errors carry a code from a closed set, and what is known of the execution.
func Example_errors() {
	rt, address, stop := serve()
	defer stop()
	arith := rt.NewClient("arith", rpcruntime.Endpoints(address))

	_, err := Div.Call(context.Background(), arith, &Args{A: 84, B: 0})
	fmt.Println(err)
	fmt.Println(status.CodeOf(err), status.FateOf(err))

	_, err = rpcruntime.Call[Reply](context.Background(), arith, "Arith.Pow", &Args{A: 2, B: 8})
	fmt.Println(status.CodeOf(err), status.FateOf(err))
	// Output:
	// InvalidArgument: B is 0: nothing can be divided by it
	// InvalidArgument executed
	// Unimplemented unexecuted
}

// An interceptor wraps what comes next. On the calling side it sees a call once,
// however many attempts that takes.
func ExampleClientIntercept() {
	rt, address, stop := serve()
	defer stop()
	trace := func(next rpcruntime.ClientInvoker) rpcruntime.ClientInvoker {
		return func(ctx context.Context, call *rpcruntime.ClientCall) error {
			err := next(ctx, call)
			fmt.Println(call.Service, call.Method, "attempts:", call.Attempts, "code:", status.CodeOf(err))
			return err
		}
	}
	arith := rt.NewClient("arith", rpcruntime.Endpoints(address), rpcruntime.ClientIntercept(trace))
	if _, err := Div.Call(context.Background(), arith, &Args{A: 84, B: 2}); err != nil {
		fmt.Println(err)
	}
	// Output:
	// arith Arith.Div attempts: 1 code: OK
}

// An interceptor of a server may refuse a call before it runs. Refuse marks it
// as unexecuted, so that the caller may safely try another endpoint.
func ExampleServerIntercept() {
	onlyKnown := func(next rpcruntime.ServerInvoker) rpcruntime.ServerInvoker {
		return func(ctx context.Context, call *rpcruntime.ServerCall) (any, error) {
			if call.Metadata["tenant"] == "" {
				return nil, call.Refuse(status.New(status.Unauthenticated, "metadata key tenant is missing"))
			}
			return next(ctx, call)
		}
	}
	rt, address, stop := serve(rpcruntime.ServerIntercept(onlyKnown))
	defer stop()
	arith := rt.NewClient("arith", rpcruntime.Endpoints(address))

	ctx := context.Background()
	_, err := Div.Call(ctx, arith, &Args{A: 84, B: 2})
	fmt.Println(status.CodeOf(err), status.FateOf(err))

	ctx = rpcruntime.WithMetadata(ctx, rpcruntime.Metadata{"tenant": "blue"})
	reply, err := Div.Call(ctx, arith, &Args{A: 84, B: 2})
	fmt.Println(reply.C, err)
	// Output:
	// Unauthenticated unexecuted
	// 42 <nil>
}

// Where no registry is, a policy may stand in the code: here for a method that
// may run twice, and so is sent again when its answer is late.
func ExampleFixedPolicy() {
	rt, address, stop := serve()
	defer stop()

	timeout, perTry, attempts := 300*time.Millisecond, 100*time.Millisecond, int32(3)
	arith := rt.NewClient("arith", rpcruntime.Endpoints(address),
		rpcruntime.FixedPolicy(policy.CallFields{Timeout: &timeout, PerTryTimeout: &perTry, Attempts: &attempts}, "Arith.Mul"))
	reply, err := rpcruntime.Call[Reply](context.Background(), arith, "Arith.Mul", &Args{A: 6, B: 7})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(reply.C)
	// Output:
	// 42
}

// Legacy is written as rpcx wants it.
type Legacy struct{}

// Neg answers -A.
func (*Legacy) Neg(_ context.Context, args Args, reply *Reply) error {
	reply.C = -args.A
	return nil
}

// Services written for rpcx move over as they are.
func ExampleServer_Register() {
	rt, err := rpcruntime.New(rpcruntime.WithoutRegistry())
	if err != nil {
		fmt.Println(err)
		return
	}
	defer rt.Close(context.Background())

	srv := rt.NewServer()
	fmt.Println(srv.Register(new(Legacy))) // as Legacy.Neg
	// Output:
	// <nil>
}
