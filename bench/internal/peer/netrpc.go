// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package peer

import (
	"context"
	"errors"
	"net"
	"net/rpc"

	"github.com/fairlead/fairlead/bench/internal/order"
)

func netrpcPeer() Peer {
	return Peer{
		Name: "netrpc", Shared: true,
		Note:  "net/rpc of this Go, with a codec for Protobuf and bytes in place of gob",
		Serve: serveNetRPC,
		Dial:  dialNetRPC,
	}
}

// OrderBox lets a handler of net/rpc, which is given the reply to fill, echo
// without a copy. It is exported because net/rpc wants that.
type OrderBox struct{ order *order.Order }

// BytesBox is the same for bytes. Other peers have it for their codecs, too.
type BytesBox struct{ bytes []byte }

// fill copies b, into the slice that is there if it is large enough.
func (x *BytesBox) fill(b []byte) {
	if cap(x.bytes) < len(b) {
		x.bytes = make([]byte, 0, len(b))
	}
	x.bytes = append(x.bytes[:0], b...)
}

// netOrders and netBytes have a method for each handler, as net/rpc wants them.
type (
	netOrders struct{}
	netBytes  struct{}
)

func echoOrder(h Handler, in, out *OrderBox) error {
	h.run()
	out.order = in.order
	return nil
}

func echoBytes(h Handler, in, out *BytesBox) error {
	h.run()
	out.bytes = in.bytes
	return nil
}

func (netOrders) Immediate(in, out *OrderBox) error { return echoOrder(Immediate, in, out) }
func (netOrders) Yield(in, out *OrderBox) error     { return echoOrder(Yield, in, out) }
func (netOrders) Sleep(in, out *OrderBox) error     { return echoOrder(Sleep, in, out) }
func (netOrders) Block(in, out *OrderBox) error     { return echoOrder(Block, in, out) }
func (netBytes) Immediate(in, out *BytesBox) error  { return echoBytes(Immediate, in, out) }
func (netBytes) Yield(in, out *BytesBox) error      { return echoBytes(Yield, in, out) }
func (netBytes) Sleep(in, out *BytesBox) error      { return echoBytes(Sleep, in, out) }
func (netBytes) Block(in, out *BytesBox) error      { return echoBytes(Block, in, out) }

var (
	netOrderNames = [handlers]string{"Order.Immediate", "Order.Yield", "Order.Sleep", "Order.Block"} // constant
	netBytesNames = [handlers]string{"Bytes.Immediate", "Bytes.Yield", "Bytes.Sleep", "Bytes.Block"} // constant
)

func serveNetRPC(ctx context.Context, ln net.Listener, _ string) error {
	s := rpc.NewServer()
	if err := errors.Join(s.RegisterName("Order", netOrders{}), s.RegisterName("Bytes", netBytes{})); err != nil {
		return err
	}
	return serveConns(ctx, ln, func(conn net.Conn) { s.ServeCodec(newNetServerCodec(conn)) })
}

func dialNetRPC(ctx context.Context, s Setup) (Client, error) {
	conns, err := dialled(ctx, s)
	if err != nil {
		return nil, err
	}
	var clients []*rpc.Client
	client := &spread{close: func() error {
		var errs []error
		for _, c := range clients {
			errs = append(errs, c.Close())
		}
		return errors.Join(errs...)
	}}
	for _, conn := range conns {
		c := rpc.NewClientWithCodec(newNetClientCodec(conn))
		clients = append(clients, c)
		client.callers = append(client.callers, netCaller{c})
	}
	return client, nil
}

type netCaller struct{ client *rpc.Client }

func (c netCaller) Order(_ context.Context, h Handler, req *order.Order) (*order.Order, error) {
	var reply OrderBox
	err := c.client.Call(netOrderNames[h], &OrderBox{req}, &reply)
	return reply.order, err
}

func (c netCaller) Bytes(_ context.Context, h Handler, req, reply []byte) ([]byte, error) {
	answer := BytesBox{reply}
	err := c.client.Call(netBytesNames[h], &BytesBox{req}, &answer)
	return answer.bytes, err
}

// Close does nothing: callers share the connection.
func (netCaller) Close() error { return nil }
