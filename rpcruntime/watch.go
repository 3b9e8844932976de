// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package rpcruntime

import (
	"runtime/debug"
	"slices"

	"github.com/fairlead/fairlead/rpcruntime/policy"
	"github.com/fairlead/fairlead/rpcruntime/registry"
	"github.com/fairlead/fairlead/rpcruntime/status"
)

// honoured names the features of policies that this runtime acts on, for the
// registry to count.
func honoured() []string {
	return []string{"timeout", "failMode", "retry", "loadBalancer", "limits"}
}

// openRegistry makes the runtime's watch of the registry. It touches no network.
func (rt *Runtime) openRegistry() {
	env := &rt.opts.env
	env.here.Addresses = env.registry // an option may have named others
	if rt.opts.noRegistry || !env.here.Registry() {
		return
	}
	cfg := registry.Config{
		Identity:       registry.Identity{Namespace: env.namespace, App: env.app, PodUID: env.podUID, Pod: env.here.Pod},
		Transport:      rt.transportConfig(),
		CacheDir:       env.cacheDir,
		Log:            rt.log,
		RuntimeVersion: runtimeVersion(),
		Features:       honoured(),
		OnSelf:         rt.onSelf,
	}
	env.here.Configure(&cfg, rt.opts.dial, rt.log)
	rt.registry = registry.New(cfg)
}

// runtimeVersion is the version of this module in the program that links it.
func runtimeVersion() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	for _, m := range append(info.Deps, &info.Main) {
		if m.Path == "github.com/fairlead/fairlead/rpcruntime" && m.Version != "" {
			return m.Version
		}
	}
	return "devel"
}

// serveAt adds addresses at which the process serves.
func (rt *Runtime) serveAt(addresses []string) {
	rt.mu.Lock()
	defer rt.mu.Unlock()
	rt.serving = append(rt.serving, addresses...)
	rt.registry.SetServing(rt.serving)
}

// serveNoMoreAt takes such addresses away.
func (rt *Runtime) serveNoMoreAt(addresses []string) {
	rt.mu.Lock()
	defer rt.mu.Unlock()
	for _, a := range addresses {
		if i := slices.Index(rt.serving, a); i >= 0 {
			rt.serving = slices.Delete(rt.serving, i, i+1)
		}
	}
	rt.registry.SetServing(rt.serving)
}

// onSelf tells the servers what the registry knows of this process.
func (rt *Runtime) onSelf(self registry.Self) {
	rt.mu.Lock()
	servers := append([]*Server(nil), rt.servers...)
	rt.mu.Unlock()
	for _, s := range servers {
		s.learn(self)
	}
}

func (rt *Runtime) registryEvent(service string, role policy.Role, kind, digest string) {
	rt.observer.RegistryChanged(RegistryEvent{Service: service, Role: string(role), Kind: kind, Digest: digest})
}

// RegistryStatus says where the registry is and how fresh what it said last, as
// in "registry fairlead-registry:7443 (as of 14:02:11)"; empty without one.
func (rt *Runtime) RegistryStatus() string {
	if rt.registry == nil {
		return ""
	}
	return rt.registry.Status().String()
}

// watch subscribes the client to its service.
func (c *Client) watch() (stop func()) {
	return c.rt.registry.Watch(c.service, policy.Caller, (*clientWatcher)(c))
}

// clientWatcher is the Client as the registry sees it.
type clientWatcher Client

// Changed makes the snapshot the one that calls go by.
func (w *clientWatcher) Changed(s *policy.Snapshot, origin registry.Origin) {
	c := (*Client)(w)
	c.apply(s)
	c.rt.log.V(1).Info("registry changed", "service", c.service, "digest", s.Digest.Short(), "endpoints", len(s.Endpoints), "origin", origin.String())
	if len(s.UnknownFields) > 0 {
		c.rt.log.Info("the registry says more than this version understands; upgrade to honour it", "service", c.service, "fields", s.UnknownFields)
	}
	c.rt.registryEvent(c.service, policy.Caller, origin.String(), s.Digest.Short())
}

// Invalid keeps the snapshot there is, unless the registry wants it forgotten.
func (w *clientWatcher) Invalid(err error) {
	c := (*Client)(w)
	c.rt.registryEvent(c.service, policy.Caller, "invalid", "")
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return
	}
	old, gone := c.state.Load(), asGone(err)
	switch {
	case old.snapshot != nil && (gone == nil || !gone.Forgotten):
		c.rt.log.Info("the registry has no valid state of the service; keeping the last good one", "service", c.service, "reason", err.Error())
		if gone != nil {
			c.goneLocked(old, gone)
		}
	case gone != nil: // perhaps forgotten here before the registry's clock says so
		c.forgetLocked((&goneState{err: *gone}).forgotten())
	default:
		c.forgetLocked(status.Convert(err).WithFate(status.FateUnexecuted))
	}
}

// Ambient keeps the snapshot there is, and remembers the trouble for messages.
func (w *clientWatcher) Ambient(err error) {
	c := (*Client)(w)
	c.rt.registryEvent(c.service, policy.Caller, "stale", "")
	c.rt.log.V(1).Info("registry trouble; keeping what is known", "service", c.service, "reason", err.Error())
	c.mu.Lock()
	defer c.mu.Unlock()
	if old := c.state.Load(); old.snapshot == nil && !c.closed {
		c.setLocked(&clientState{invalid: old.invalid, ambient: err})
	}
}
