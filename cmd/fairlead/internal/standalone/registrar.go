// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package standalone

import (
	"time"

	"github.com/fairlead/fairlead/api/v1alpha1"
	"github.com/fairlead/fairlead/internal/compile"
	"github.com/fairlead/fairlead/rpcruntime/registry"
	"github.com/fairlead/fairlead/rpcruntime/status"
)

// registrar is the plane as the registry service sees it. It is called by any
// goroutine.
type registrar struct{ plane *plane }

// Register grants or renews a lease.
func (r registrar) Register(holder uint64, req registry.RegisterRequest) (time.Duration, error) {
	metadata := make(map[string]string, len(req.Metadata)+1)
	for _, kv := range req.Metadata {
		metadata[kv.Key] = kv.Value
	}
	if req.Zone != "" {
		metadata["zone"] = req.Zone
	}
	instance, err := newInstance(req.Service, req.Address, metadata, true)
	if err != nil {
		return 0, status.New(status.InvalidArgument, err.Error())
	}
	var refused *status.Error
	ran, unsaved := r.plane.do(func(now time.Time) { refused = r.plane.register(instance, holder, now) })
	switch {
	case !ran:
		return 0, status.New(status.Unavailable, "the registry is closing")
	case refused != nil:
		return 0, refused
	case unsaved != nil:
		return 0, status.Errorf(status.Unavailable, "the registry cannot keep registrations: %w", unsaved)
	}
	return leaseTime, nil
}

// Leave ends a lease.
func (r registrar) Leave(holder uint64, service, address string) {
	instance, err := newInstance(service, address, nil, false)
	if err != nil {
		return // it cannot have registered
	}
	_, _ = r.plane.do(func(time.Time) { // what cannot be saved now is saved later
		if r.plane.leases.leave(instance.Key(), holder) {
			r.plane.remove(instance.Key())
		}
	})
}

// Lost makes the holder's instances suspect.
func (r registrar) Lost(holder uint64) {
	_, _ = r.plane.do(func(time.Time) { // what cannot be saved now is saved later
		for _, i := range r.plane.leases.lose(holder) {
			r.plane.log.line("%s: the connection of %s was lost; it is suspect until it is back, or its lease ends", i.Service, i.Address)
			r.plane.accept()
			r.plane.set(i)
		}
	})
}

// register takes an instance in, on the loop.
func (p *plane) register(instance *compile.Instance, holder uint64, now time.Time) *status.Error {
	service := p.objects.RPCService(instance.Service)
	switch {
	case !p.loaded:
		return status.New(status.Unavailable, "the registry has not read everything yet").WithRetryAfter(time.Second)
	case service == nil:
		return status.Errorf(status.NotFound, "no RPCService %q in the manifests of this control plane; add one with spec.source.type: %s",
			instance.Service, v1alpha1.SourceRegistered)
	case service.Spec.Source.Type != v1alpha1.SourceRegistered:
		return status.Errorf(status.FailedPrecondition,
			"RPCService %q takes its instances from a Service (spec.source.type: %s); to let them register, make that %s",
			instance.Service, service.Spec.Source.Type, v1alpha1.SourceRegistered)
	}
	changed, err := p.leases.grant(instance, holder, now)
	if err != nil {
		return status.New(status.ResourceExhausted, err.Error())
	}
	if changed {
		p.accept()
		p.set(instance)
	}
	return nil
}
