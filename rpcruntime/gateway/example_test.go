// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package gateway_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"

	"github.com/fairlead/fairlead/rpcruntime"
	"github.com/fairlead/fairlead/rpcruntime/gateway"
)

type args struct{ A, B int }

type reply struct{ C int }

// One port serves RPC and HTTP: a method is registered once, and called by
// X-RPCX-* headers or by JSON-RPC as well.
func Example() {
	rt, err := rpcruntime.New(rpcruntime.WithoutRegistry())
	if err != nil {
		fmt.Println(err)
		return
	}
	srv := rt.NewServer(rpcruntime.WithProtocol(gateway.New(gateway.Options{JSONRPCPath: "/jsonrpc"})))
	rpcruntime.Handle(srv, "Arith.Mul", func(_ context.Context, a *args) (*reply, error) {
		return &reply{a.A * a.B}, nil
	})
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fmt.Println(err)
		return
	}
	ctx, stop := context.WithCancel(context.Background())
	served := make(chan error)
	go func() { served <- srv.Serve(ctx, ln) }()

	base := "http://" + ln.Addr().String()
	post(base+"/Arith", `{"A":6,"B":7}`, "X-RPCX-ServiceMethod", "Mul", "X-RPCX-SerializeType", "1")
	post(base+"/Arith", `{"A":6,"B":7}`, "X-RPCX-ServiceMethod", "Div", "X-RPCX-SerializeType", "1")
	post(base+"/jsonrpc", `{"jsonrpc":"2.0","method":"Arith.Mul","params":{"A":2,"B":3},"id":1}`, "Content-Type", "application/json")

	http.DefaultClient.CloseIdleConnections()
	stop()
	fmt.Println(<-served, rt.Close(context.Background()))
	// Output:
	// 200 {"C":42}
	// 501 rpcx: can't find method Div
	// 200 {"jsonrpc":"2.0","id":1,"result":{"C":6}}
	// <nil> <nil>
}

func post(url, body string, headers ...string) {
	req, err := http.NewRequestWithContext(context.Background(), http.MethodPost, url, strings.NewReader(body))
	if err != nil {
		fmt.Println(err)
		return
	}
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(resp.StatusCode, strings.TrimSpace(string(b)))
}
