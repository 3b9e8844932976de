// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package peer

import (
	"context"
	"errors"
	"math"
	"net"
	"runtime"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/encoding/proto"
	"google.golang.org/grpc/mem"

	"github.com/fairlead/fairlead/bench/internal/order"
)

const (
	// What grpc-go's own benchmark gives its clients and servers.
	grpcBuffer  = 128 << 10
	grpcService = "fairlead.bench.v1.Echo"
	grpcOrders  = "/" + grpcService + "/Order-"
	grpcBytes   = "/" + grpcService + "/Bytes-"
)

func grpcPeer() Peer {
	return Peer{
		Name: "grpc", Module: "google.golang.org/grpc", Shared: true,
		Note:  "no TLS, buffers of 128 KiB as in its own benchmark, NumStreamWorkers(GOMAXPROCS)",
		Serve: serveGRPC,
		Dial:  dialGRPC,
	}
}

func serveGRPC(ctx context.Context, ln net.Listener, _ string) error {
	s := grpc.NewServer(
		grpc.WriteBufferSize(grpcBuffer), grpc.ReadBufferSize(grpcBuffer),
		grpc.NumStreamWorkers(uint32(runtime.GOMAXPROCS(0))),
		grpc.MaxConcurrentStreams(math.MaxUint32),
		grpc.ForceServerCodecV2(newGRPCCodec()),
	)
	s.RegisterService(grpcDescription(), nil)
	stop := context.AfterFunc(ctx, s.Stop)
	defer stop()
	return s.Serve(ln)
}

// grpcDescription is what protoc-gen-go-grpc would write, with a method for each
// handler and kind of payload.
func grpcDescription() *grpc.ServiceDesc {
	d := &grpc.ServiceDesc{ServiceName: grpcService, HandlerType: (*any)(nil)}
	for h := range handlers {
		d.Methods = append(d.Methods,
			grpc.MethodDesc{MethodName: "Order-" + h.String(), Handler: func(_ any, _ context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
				in := new(order.Order)
				if err := decode(in); err != nil {
					return nil, err
				}
				h.run()
				return in, nil
			}},
			grpc.MethodDesc{MethodName: "Bytes-" + h.String(), Handler: func(_ any, _ context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
				in := new([]byte)
				if err := decode(in); err != nil {
					return nil, err
				}
				h.run()
				return in, nil
			}},
		)
	}
	return d
}

// grpcCodec is grpc-go's own for orders. For bytes it is the least that grpc-go
// allows: it hands over the slice that it is given, and copies once what came.
type grpcCodec struct{ encoding.CodecV2 }

func newGRPCCodec() grpcCodec { return grpcCodec{encoding.GetCodecV2(proto.Name)} }

func (c grpcCodec) Marshal(v any) (mem.BufferSlice, error) {
	if b, ok := v.(*[]byte); ok {
		return mem.BufferSlice{mem.SliceBuffer(*b)}, nil
	}
	return c.CodecV2.Marshal(v)
}

func (c grpcCodec) Unmarshal(data mem.BufferSlice, v any) error {
	if b, ok := v.(*[]byte); ok {
		if size := data.Len(); cap(*b) < size {
			*b = make([]byte, size)
		} else {
			*b = (*b)[:size]
		}
		data.CopyTo(*b)
		return nil
	}
	return c.CodecV2.Unmarshal(data, v)
}

func dialGRPC(_ context.Context, s Setup) (Client, error) {
	var conns []*grpc.ClientConn
	client := &spread{close: func() error {
		var errs []error
		for _, c := range conns {
			errs = append(errs, c.Close())
		}
		return errors.Join(errs...)
	}}
	for range max(1, s.Conns) {
		c, err := grpc.NewClient("passthrough:///"+s.Address,
			grpc.WithTransportCredentials(insecure.NewCredentials()),
			grpc.WithWriteBufferSize(grpcBuffer), grpc.WithReadBufferSize(grpcBuffer))
		if err != nil {
			return nil, errors.Join(err, client.Close())
		}
		conns = append(conns, c)
		client.callers = append(client.callers, newGRPCCaller(c))
	}
	return client, nil
}

type grpcCaller struct {
	conn *grpc.ClientConn
	raw  []grpc.CallOption
}

func newGRPCCaller(c *grpc.ClientConn) *grpcCaller {
	return &grpcCaller{conn: c, raw: []grpc.CallOption{grpc.ForceCodecV2(newGRPCCodec())}}
}

var (
	orderNames = methodNames(grpcOrders) // constant
	bytesNames = methodNames(grpcBytes)  // constant
)

// methodNames are the names of the handlers behind a prefix.
func methodNames(prefix string) (names [handlers]string) {
	for h := range handlers {
		names[h] = prefix + h.String()
	}
	return names
}

func (c *grpcCaller) Order(ctx context.Context, h Handler, req *order.Order) (*order.Order, error) {
	reply := new(order.Order)
	return reply, c.conn.Invoke(ctx, orderNames[h], req, reply)
}

func (c *grpcCaller) Bytes(ctx context.Context, h Handler, req, reply []byte) ([]byte, error) {
	err := c.conn.Invoke(ctx, bytesNames[h], &req, &reply, c.raw...)
	return reply, err
}

// Close does nothing: callers share the connection.
func (c *grpcCaller) Close() error { return nil }
