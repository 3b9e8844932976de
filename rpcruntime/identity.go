// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package rpcruntime

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/fairlead/fairlead/rpcruntime/limit"
	"github.com/fairlead/fairlead/rpcruntime/policy"
	"github.com/fairlead/fairlead/rpcruntime/registry"
	"github.com/fairlead/fairlead/rpcruntime/wire"
)

// leaveTimeout bounds how long a drain waits for the registry to take note.
const leaveTimeout = time.Second

// served is one service that a server is an instance of: whose limits apply.
// The nil *served, of a server that knows no service, admits everything.
type served struct {
	name    string
	limiter atomic.Pointer[limit.Limiter]
	methods atomic.Pointer[policy.Methods]
	srv     *Server
	// learnt: the registry says so, and may say otherwise; else we were told.
	learnt bool
	// unwatch ends the watch of the service; nil without a registry.
	unwatch func()
}

// refuses reports whether the service refuses a method as not declared.
func (v *served) refuses(method string) bool {
	if v == nil {
		return false
	}
	m := v.methods.Load()
	if m == nil || !m.RefuseUndeclared {
		return false
	}
	_, declared := m.Lookup(method)
	return !declared
}

func (v *served) admit(method string, peer Peer, now time.Duration) (limit.Ticket, limit.Decision) {
	if v == nil {
		return limit.Ticket{}, limit.Decision{}
	}
	l := v.limiter.Load()
	if l == nil {
		return limit.Ticket{}, limit.Decision{}
	}
	return l.Admit(limit.CallInfo{Method: method, Caller: peer.Name}, now)
}

// Changed takes the service's limits; calls admitted under the old ones go on.
func (v *served) Changed(s *policy.Snapshot, origin registry.Origin) {
	l := v.limiter.Load()
	if l == nil {
		l = limit.New(nil)
	}
	v.limiter.Store(l.With(s.Limits))
	v.methods.Store(&s.Methods)
	v.srv.rt.registryEvent(v.name, policy.Server, origin.String(), s.Digest.Short())
}

// Invalid keeps the limits there are: a server does not become unlimited because
// the registry forgot it.
func (v *served) Invalid(err error) {
	v.srv.rt.log.V(1).Info("no limits from the registry", "service", v.name, "reason", err.Error())
	v.srv.rt.registryEvent(v.name, policy.Server, "invalid", "")
}

// Ambient keeps the limits there are.
func (v *served) Ambient(err error) {
	v.srv.rt.log.V(1).Info("registry trouble; limits stay as they are", "service", v.name, "reason", err.Error())
	v.srv.rt.registryEvent(v.name, policy.Server, "stale", "")
}

// identifyLocked tells the registry who serves at the listener, and takes the
// limits of the services that the server is known to be an instance of.
func (s *Server) identifyLocked(ln net.Listener) {
	for _, name := range s.opts.services {
		s.addServiceLocked(qualify(name, s.rt.opts.env.namespace), false)
	}
	if s.rt.registry == nil {
		return
	}
	addresses := listenAddresses(ln.Addr())
	s.port = portOf(ln.Addr())
	s.rt.serveAt(addresses)
	s.watches = append(s.watches, func() { s.rt.serveNoMoreAt(addresses) })
	if self, ok := s.rt.registry.Self(); ok {
		s.learnLocked(self)
	}
	if s.opts.advertise == nil || len(addresses) == 0 {
		return
	}
	address := *s.opts.advertise
	if address == "" {
		address = addresses[0]
	}
	for _, name := range s.advertisedLocked() {
		s.advertiseLocked(name, address)
	}
}

// advertisedLocked names the services to join: those that we were told. In those
// that were learnt we are already, perhaps by a lease that is to run out.
func (s *Server) advertisedLocked() []string {
	var names []string
	for _, v := range *s.services.Load() {
		if !v.learnt {
			names = append(names, v.name)
		}
	}
	return names
}

func (s *Server) advertiseLocked(service, address string) {
	leave := s.rt.registry.Register(registry.Registration{Service: service, Address: address, OnError: func(err error) {
		if err != nil {
			s.rt.log.Error(err, "the registry does not take this instance", "service", service, "address", address)
		}
	}})
	s.watches = append(s.watches, func() {
		ctx, cancel := context.WithTimeout(s.rt.closing, leaveTimeout)
		defer cancel()
		if err := leave(ctx); err != nil {
			s.rt.log.V(1).Info("leaving the registry failed; the lease will run out", "service", service, "reason", err.Error())
		}
	})
}

// addServiceLocked makes the server an instance of the service, once.
func (s *Server) addServiceLocked(name string, learnt bool) {
	services := *s.services.Load()
	if slices.ContainsFunc(services, func(v *served) bool { return v.name == name }) {
		return
	}
	v := &served{name: name, srv: s, learnt: learnt}
	next := append(slices.Clip(services), v)
	s.services.Store(&next)
	if s.rt.registry != nil {
		v.unwatch = s.rt.registry.Watch(name, policy.Server, v)
	}
}

// learn takes from the registry which services this server is an instance of.
func (s *Server) learn(self registry.Self) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.state == serverServing {
		s.learnLocked(self)
	}
}

// learnLocked makes the services that were learnt those that self names at our
// port: their limits and their names come and go with what the registry says.
// Calls that a dropped one's limits admitted go on, and give back what they hold.
func (s *Server) learnLocked(self registry.Self) {
	var names []string
	for _, v := range self.Serves {
		if v.Port == s.port {
			names = append(names, v.Service)
		}
	}
	services := *s.services.Load()
	var kept []*served
	for _, v := range services {
		switch {
		case !v.learnt || slices.Contains(names, v.name):
			kept = append(kept, v)
			continue
		case v.unwatch != nil:
			v.unwatch()
		}
		s.rt.log.V(1).Info("not an instance of the service any more, says the registry", "service", v.name)
	}
	if len(kept) < len(services) {
		s.services.Store(&kept)
	}
	for _, name := range names {
		s.addServiceLocked(name, true)
	}
}

// servedAs returns the service that a caller means; without a name, or for one
// that we do not know, the first.
func (s *Server) servedAs(to string) *served {
	services := *s.services.Load()
	for _, v := range services {
		if v.name == to {
			return v
		}
	}
	if len(services) == 0 {
		return nil
	}
	return services[0]
}

// checkIdentity says why a caller's connection has come to the wrong place:
// addresses are used again, and a stale registry must not lead to strangers.
func (s *Server) checkIdentity(a *wire.Announcement) error {
	if uid := s.rt.opts.env.podUID; uid != "" && a.UID != "" && a.UID != uid {
		return fmt.Errorf("the connection is meant for Pod %s, this is Pod %s", a.UID, uid)
	}
	services := *s.services.Load()
	if a.To == "" || len(services) == 0 || slices.ContainsFunc(services, func(v *served) bool { return v.name == a.To }) {
		return nil
	}
	names := make([]string, len(services))
	for i, v := range services {
		names[i] = v.name
	}
	return fmt.Errorf("the connection is meant for service %s, this is an instance of %s", a.To, strings.Join(names, ", "))
}

// listenAddresses returns the host:port pairs by which a listener can be
// reached, as far as the process can know: those of its interfaces if it listens
// on all, loopback last.
func listenAddresses(addr net.Addr) []string {
	tcp, ok := addr.(*net.TCPAddr)
	if !ok {
		return nil
	}
	port := strconv.Itoa(tcp.Port)
	if !tcp.IP.IsUnspecified() && len(tcp.IP) > 0 {
		return []string{net.JoinHostPort(tcp.IP.String(), port)}
	}
	interfaces, err := net.InterfaceAddrs()
	if err != nil {
		return nil
	}
	var global, loopback []string
	for _, a := range interfaces {
		ip, ok := a.(*net.IPNet)
		switch {
		case !ok || ip.IP.IsLinkLocalUnicast():
		case ip.IP.IsLoopback():
			loopback = append(loopback, net.JoinHostPort(ip.IP.String(), port))
		default:
			global = append(global, net.JoinHostPort(ip.IP.String(), port))
		}
	}
	all := slices.Concat(global, loopback)
	return all[:min(len(all), policy.MaxAddresses)]
}

func portOf(addr net.Addr) string {
	if tcp, ok := addr.(*net.TCPAddr); ok {
		return strconv.Itoa(tcp.Port)
	}
	return ""
}
