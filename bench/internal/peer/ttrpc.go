// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package peer

import (
	"context"
	"errors"
	"net"

	"github.com/containerd/ttrpc"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/fairlead/fairlead/bench/internal/order"
)

func ttrpcPeer() Peer {
	return Peer{
		Name: "ttrpc", Module: "github.com/containerd/ttrpc", Shared: true,
		Note:  "defaults; bytes go as google.protobuf.BytesValue, as it takes Protobuf only",
		Serve: serveTTRPC,
		Dial:  dialTTRPC,
	}
}

const ttrpcService = "bench.Echo"

var (
	ttrpcOrders = methodNames("Order-") // constant
	ttrpcBytes  = methodNames("Bytes-") // constant
)

func serveTTRPC(ctx context.Context, ln net.Listener, _ string) error {
	s, err := ttrpc.NewServer()
	if err != nil {
		return errors.Join(err, ln.Close())
	}
	methods := make(map[string]ttrpc.Method)
	for h := range handlers {
		methods[ttrpcOrders[h]] = func(_ context.Context, decode func(any) error) (any, error) {
			in := new(order.Order)
			if err := decode(in); err != nil {
				return nil, err
			}
			h.run()
			return in, nil
		}
		methods[ttrpcBytes[h]] = func(_ context.Context, decode func(any) error) (any, error) {
			in := new(wrapperspb.BytesValue)
			if err := decode(in); err != nil {
				return nil, err
			}
			h.run()
			return in, nil
		}
	}
	s.RegisterService(ttrpcService, &ttrpc.ServiceDesc{Methods: methods})
	stop := context.AfterFunc(ctx, func() { _ = s.Close() }) // Serve returns, which is what we want
	defer stop()
	if err := s.Serve(context.Background(), ln); !errors.Is(err, ttrpc.ErrServerClosed) {
		return err
	}
	return nil
}

func dialTTRPC(ctx context.Context, s Setup) (Client, error) {
	conns, err := dialled(ctx, s)
	if err != nil {
		return nil, err
	}
	var clients []*ttrpc.Client
	client := &spread{close: func() error {
		var errs []error
		for _, c := range clients {
			errs = append(errs, c.Close())
		}
		return errors.Join(errs...)
	}}
	for _, conn := range conns {
		c := ttrpc.NewClient(conn)
		clients = append(clients, c)
		client.callers = append(client.callers, ttrpcCaller{c})
	}
	return client, nil
}

type ttrpcCaller struct{ client *ttrpc.Client }

func (c ttrpcCaller) Order(ctx context.Context, h Handler, req *order.Order) (*order.Order, error) {
	reply := new(order.Order)
	return reply, c.client.Call(ctx, ttrpcService, ttrpcOrders[h], req, reply)
}

func (c ttrpcCaller) Bytes(ctx context.Context, h Handler, req, _ []byte) ([]byte, error) {
	reply := new(wrapperspb.BytesValue)
	err := c.client.Call(ctx, ttrpcService, ttrpcBytes[h], wrapperspb.Bytes(req), reply)
	return reply.Value, err
}

// Close does nothing: callers share the connection.
func (ttrpcCaller) Close() error { return nil }
