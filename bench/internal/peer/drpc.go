// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package peer

import (
	"context"
	"fmt"
	"net"

	"google.golang.org/protobuf/proto"
	"storj.io/drpc"
	"storj.io/drpc/drpcconn"
	"storj.io/drpc/drpcmux"
	"storj.io/drpc/drpcpool"
	"storj.io/drpc/drpcserver"

	"github.com/fairlead/fairlead/bench/internal/order"
)

func drpcPeer() Peer {
	return Peer{
		Name: "drpc", Module: "storj.io/drpc",
		Note:  "drpcpool without a bound, as a connection carries one call at a time",
		Serve: serveDRPC,
		Dial:  dialDRPC,
	}
}

// drpcCodec is drpc's encoding for orders and bytes.
type drpcCodec struct{}

func (c drpcCodec) Marshal(m drpc.Message) ([]byte, error) { return c.MarshalAppend(nil, m) }

// MarshalAppend is what drpc prefers if it is there.
func (drpcCodec) MarshalAppend(b []byte, m drpc.Message) ([]byte, error) {
	switch m := m.(type) {
	case *order.Order:
		return proto.MarshalOptions{}.MarshalAppend(b, m)
	case *BytesBox:
		return append(b, m.bytes...), nil
	}
	return nil, fmt.Errorf("the codec cannot encode %T", m)
}

func (drpcCodec) Unmarshal(b []byte, m drpc.Message) error {
	switch m := m.(type) {
	case *order.Order:
		return proto.Unmarshal(b, m)
	case *BytesBox:
		m.fill(b)
		return nil
	}
	return fmt.Errorf("the codec cannot decode %T", m)
}

// drpcEcho is the service; its methods are only there for their types.
type drpcEcho struct{}

func (drpcEcho) Order(_ context.Context, in *order.Order) (*order.Order, error) { return in, nil }
func (drpcEcho) Bytes(_ context.Context, in *BytesBox) (*BytesBox, error)       { return in, nil }

// drpcDescription is what drpc's generator would write: first the methods for
// orders, then those for bytes.
type drpcDescription struct{}

func (drpcDescription) NumMethods() int { return 2 * int(handlers) }

func (drpcDescription) Method(n int) (string, drpc.Encoding, drpc.Receiver, any, bool) {
	if n < int(handlers) {
		h := Handler(n)
		return drpcOrders[h], drpcCodec{}, func(_ any, _ context.Context, in, _ any) (drpc.Message, error) {
			h.run()
			return in, nil
		}, drpcEcho.Order, true
	}
	h := Handler(n) - handlers
	return drpcBytes[h], drpcCodec{}, func(_ any, _ context.Context, in, _ any) (drpc.Message, error) {
		h.run()
		return in, nil
	}, drpcEcho.Bytes, true
}

var (
	drpcOrders = methodNames("/Echo/Order-") // constant
	drpcBytes  = methodNames("/Echo/Bytes-") // constant
)

func serveDRPC(ctx context.Context, ln net.Listener, _ string) error {
	mux := drpcmux.New()
	if err := mux.Register(drpcEcho{}, drpcDescription{}); err != nil {
		return err
	}
	return drpcserver.New(mux).Serve(ctx, ln)
}

type drpcClient struct {
	pool *drpcpool.Pool[string, drpcpool.Conn]
	conn drpcpool.Conn
}

func dialDRPC(ctx context.Context, s Setup) (Client, error) {
	pool := drpcpool.New[string, drpcpool.Conn](drpcpool.Options{})
	conn := pool.Get(ctx, s.Address, func(ctx context.Context, address string) (drpcpool.Conn, error) {
		c, err := dialTCP(ctx, address)
		if err != nil {
			return nil, err
		}
		return drpcconn.New(c), nil
	})
	return drpcClient{pool, conn}, nil
}

func (c drpcClient) Caller() (Caller, error) { return drpcCaller{c.conn}, nil }
func (c drpcClient) Close() error            { return c.pool.Close() }

type drpcCaller struct{ conn drpcpool.Conn }

func (c drpcCaller) Order(ctx context.Context, h Handler, req *order.Order) (*order.Order, error) {
	reply := new(order.Order)
	return reply, c.conn.Invoke(ctx, drpcOrders[h], drpcCodec{}, req, reply)
}

func (c drpcCaller) Bytes(ctx context.Context, h Handler, req, reply []byte) ([]byte, error) {
	answer := BytesBox{reply}
	err := c.conn.Invoke(ctx, drpcBytes[h], drpcCodec{}, &BytesBox{req}, &answer)
	return answer.bytes, err
}

// Close does nothing: the pool has the connections.
func (drpcCaller) Close() error { return nil }
