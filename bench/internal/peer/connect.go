// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package peer

import (
	"context"
	"fmt"
	"math"
	"net"
	"net/http"
	"time"

	"connectrpc.com/connect"

	"github.com/fairlead/fairlead/bench/internal/order"
)

func connectPeer() Peer {
	return Peer{
		Name: "connect", Module: "connectrpc.com/connect", Shared: true,
		Note:  "Connect protocol over HTTP/2 without TLS (net/http's own, prior knowledge), no compression",
		Serve: serveConnect,
		Dial:  dialConnect,
	}
}

// connectRaw is the least codec that connect-go allows.
type connectRaw struct{}

func (connectRaw) Name() string { return "raw" }

func (c connectRaw) Marshal(v any) ([]byte, error) { return c.MarshalAppend(nil, v) }

// MarshalAppend is what connect-go prefers if it is there. What Marshal returns
// it keeps in its pool, so that a caller's slice cannot go without a copy.
func (connectRaw) MarshalAppend(dst []byte, v any) ([]byte, error) {
	b, ok := v.(*BytesBox)
	if !ok {
		return nil, fmt.Errorf("the raw codec cannot encode %T", v)
	}
	return append(dst, b.bytes...), nil
}

func (connectRaw) Unmarshal(b []byte, v any) error {
	box, ok := v.(*BytesBox)
	if !ok {
		return fmt.Errorf("the raw codec cannot decode %T", v)
	}
	box.fill(b)
	return nil
}

var (
	connectOrders = methodNames("/bench.Echo/Order-") // constant
	connectBytes  = methodNames("/bench.Echo/Bytes-") // constant
)

// echoOf is a handler for requests of any type.
func echoOf[T any](h Handler) func(context.Context, *connect.Request[T]) (*connect.Response[T], error) {
	return func(_ context.Context, req *connect.Request[T]) (*connect.Response[T], error) {
		h.run()
		return connect.NewResponse(req.Msg), nil
	}
}

func serveConnect(ctx context.Context, ln net.Listener, _ string) error {
	mux := http.NewServeMux()
	for h := range handlers {
		mux.Handle(connectOrders[h], connect.NewUnaryHandler(connectOrders[h], echoOf[order.Order](h),
			connect.WithCompression("gzip", nil, nil)))
		mux.Handle(connectBytes[h], connect.NewUnaryHandler(connectBytes[h], echoOf[BytesBox](h),
			connect.WithCodec(connectRaw{}), connect.WithCompression("gzip", nil, nil)))
	}
	s := &http.Server{
		Handler: mux, ReadHeaderTimeout: 10 * time.Second,
		Protocols: plainHTTP2(), HTTP2: &http.HTTP2Config{MaxConcurrentStreams: math.MaxInt32},
	}
	stop := context.AfterFunc(ctx, func() { _ = s.Close() }) // Serve returns, which is what we want
	defer stop()
	if err := s.Serve(ln); ctx.Err() == nil {
		return err
	}
	return nil
}

func plainHTTP2() *http.Protocols {
	p := new(http.Protocols)
	p.SetUnencryptedHTTP2(true)
	return p
}

func dialConnect(_ context.Context, s Setup) (Client, error) {
	var transports []*http.Transport
	client := &spread{close: func() error {
		for _, t := range transports {
			t.CloseIdleConnections()
		}
		return nil
	}}
	for range max(1, s.Conns) {
		t := &http.Transport{Protocols: plainHTTP2(), DisableCompression: true}
		transports = append(transports, t)
		client.callers = append(client.callers, newConnectCaller(&http.Client{Transport: t}, "http://"+s.Address))
	}
	return client, nil
}

// connectCaller has a client for each method, as connect-go's generator makes them.
type connectCaller struct {
	orders [handlers]*connect.Client[order.Order, order.Order]
	bytes  [handlers]*connect.Client[BytesBox, BytesBox]
}

func newConnectCaller(hc *http.Client, base string) *connectCaller {
	c := new(connectCaller)
	for h := range handlers {
		c.orders[h] = connect.NewClient[order.Order, order.Order](hc, base+connectOrders[h],
			connect.WithAcceptCompression("gzip", nil, nil))
		c.bytes[h] = connect.NewClient[BytesBox, BytesBox](hc, base+connectBytes[h],
			connect.WithCodec(connectRaw{}), connect.WithAcceptCompression("gzip", nil, nil))
	}
	return c
}

func (c *connectCaller) Order(ctx context.Context, h Handler, req *order.Order) (*order.Order, error) {
	reply, err := c.orders[h].CallUnary(ctx, connect.NewRequest(req))
	if err != nil {
		return nil, err
	}
	return reply.Msg, nil
}

func (c *connectCaller) Bytes(ctx context.Context, h Handler, req, _ []byte) ([]byte, error) {
	reply, err := c.bytes[h].CallUnary(ctx, connect.NewRequest(&BytesBox{req}))
	if err != nil {
		return nil, err
	}
	return reply.Msg.bytes, nil
}

// Close does nothing: callers share the connection.
func (*connectCaller) Close() error { return nil }
