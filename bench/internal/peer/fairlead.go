// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package peer

import (
	"context"
	"errors"
	"net"
	"time"

	"github.com/fairlead/fairlead/bench/internal/order"
	"github.com/fairlead/fairlead/rpcruntime"
	"github.com/fairlead/fairlead/rpcruntime/metrics"
)

// fairleadService is the service in Manifests.
const fairleadService = "bench/echo"

// Manifests are what the registry serves to both sides of Fairlead: a deadline,
// retries, a balancer, and limits which are counted on every call and which no
// load here reaches. Payloads are what callers send, so nothing is idempotent.
const Manifests = `apiVersion: rpc.fairlead.dev/v1alpha1
kind: RPCService
metadata: {name: echo, namespace: bench}
spec:
  source: {type: Registered}
---
apiVersion: rpc.fairlead.dev/v1alpha1
kind: RPCCallPolicy
metadata: {name: echo, namespace: bench}
spec:
  targetRefs: [{group: rpc.fairlead.dev, kind: RPCService, name: echo}]
  timeout: 10s
  failMode: Failover
  retry: {attempts: 3}
  loadBalancer: {type: LeastRequest}
---
apiVersion: rpc.fairlead.dev/v1alpha1
kind: RPCLimitPolicy
metadata: {name: echo, namespace: bench}
spec:
  targetRefs: [{group: rpc.fairlead.dev, kind: RPCService, name: echo}]
  limits:
  - name: all
    rate: {count: 1000000, interval: 1s}
    concurrency: {max: 100000}
`

func fairleadPeer() Peer {
	return Peer{
		Name:  "fairlead",
		Note:  "public API; endpoints, deadline, retries, balancer and limits from a registry; metrics on both sides",
		Serve: serveFairlead,
		Dial:  dialFairlead,
	}
}

// fairleadRuntime is one with metrics, as programs have it.
func fairleadRuntime(registry string) (*rpcruntime.Runtime, error) {
	m := metrics.New()
	options := []rpcruntime.RuntimeOption{
		rpcruntime.WithObserver(m), rpcruntime.WithNamespace("bench"), rpcruntime.WithApp("load"),
	}
	if registry == "" {
		options = append(options, rpcruntime.WithoutRegistry())
	} else {
		options = append(options, rpcruntime.WithRegistry(registry))
	}
	rt, err := rpcruntime.New(options...)
	if err != nil {
		return nil, err
	}
	m.Attach(rt)
	return rt, nil
}

func closeFairlead(rt *rpcruntime.Runtime) error {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	return rt.Close(ctx)
}

func serveFairlead(ctx context.Context, ln net.Listener, registry string) (err error) {
	rt, err := fairleadRuntime(registry)
	if err != nil {
		return errors.Join(err, ln.Close())
	}
	defer func() { err = errors.Join(err, closeFairlead(rt)) }()
	var options []rpcruntime.ServerOption
	if registry != "" {
		options = append(options, rpcruntime.Service(fairleadService), rpcruntime.Advertise(""))
	}
	srv := rt.NewServer(options...)
	for h := range handlers {
		rpcruntime.Handle(srv, fairleadOrders[h], func(_ context.Context, req *order.Order) (*order.Order, error) {
			h.run()
			return req, nil
		})
		rpcruntime.HandleRaw(srv, fairleadBytes[h], func(_ context.Context, req []byte) ([]byte, error) {
			h.run()
			return req, nil
		})
	}
	return srv.Serve(ctx, ln)
}

var (
	fairleadOrders = methodNames("Order.") // constant
	fairleadBytes  = methodNames("Bytes.") // constant
)

func dialFairlead(ctx context.Context, s Setup) (Client, error) {
	rt, err := fairleadRuntime(s.Registry)
	if err != nil {
		return nil, err
	}
	var options []rpcruntime.ClientOption
	if s.Registry == "" {
		options = append(options, rpcruntime.Endpoints(s.Address))
	}
	c := fairleadClient{rt, rt.NewClient(fairleadService, options...)}
	// The server may still be on its way into the registry.
	if _, err := rpcruntime.Call[order.Order](ctx, c.client, fairleadOrders[Immediate], order.New(), rpcruntime.WaitForService()); err != nil {
		return nil, errors.Join(err, c.closeAll())
	}
	return &spread{callers: []Caller{c}, close: c.closeAll}, nil
}

type fairleadClient struct {
	rt     *rpcruntime.Runtime
	client *rpcruntime.Client
}

func (c fairleadClient) Order(ctx context.Context, h Handler, req *order.Order) (*order.Order, error) {
	return rpcruntime.Call[order.Order](ctx, c.client, fairleadOrders[h], req)
}

func (c fairleadClient) Bytes(ctx context.Context, h Handler, req, reply []byte) ([]byte, error) {
	return rpcruntime.CallRaw(ctx, c.client, fairleadBytes[h], req, reply[:0])
}

func (c fairleadClient) closeAll() error { return closeFairlead(c.rt) }

// Close does nothing: callers share the client.
func (fairleadClient) Close() error { return nil }
