// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package standalone

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"time"
)

// resolve gives the one address to listen on, and whether only this machine can
// reach it. A name is resolved once and for all, so that what was checked is
// what is bound. Without a host all addresses are meant.
func resolve(ctx context.Context, listen string, insecure bool) (address string, loopback bool, err error) {
	host, port, err := net.SplitHostPort(listen)
	if err != nil {
		return "", false, &UsageError{fmt.Errorf("--listen %q is not host:port: %w", listen, err)}
	}
	if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		return "", false, &UsageError{fmt.Errorf("--listen %q: port %q is not between 0 and 65535", listen, port)}
	}
	if host != "" {
		ip, err := lookup(ctx, host)
		if err != nil {
			return "", false, &UsageError{fmt.Errorf("--listen %q: %w", listen, err)}
		}
		host, loopback = ip.String(), ip.IsLoopback()
	}
	if !loopback && !insecure {
		return "", false, &UsageError{fmt.Errorf(
			"--listen %q is reachable from other machines, and this control plane neither encrypts nor asks who calls; "+
				"listen on 127.0.0.1:%s, or allow it with --insecure-bind", listen, port)}
	}
	return net.JoinHostPort(host, port), loopback, nil
}

func lookup(ctx context.Context, host string) (netip.Addr, error) {
	if ip, err := netip.ParseAddr(host); err == nil {
		return ip.Unmap(), nil
	}
	found, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return netip.Addr{}, err
	}
	for _, ip := range found {
		if ip.Unmap().Is4() {
			return ip.Unmap(), nil
		}
	}
	return found[0], nil // a lookup without an error finds something
}

// banner prints what a person, or a program that started this one, has to know.
func (p *plane) banner(cfg *Config, addr net.Addr) {
	services, policies := 0, 0
	_, _ = p.do(func(time.Time) { // nothing changes, so there is nothing to be saved
		services, policies = len(p.files.RPCServices), len(p.files.RPCCallPolicies)+len(p.files.RPCLimitPolicies)
	})
	_, _ = fmt.Fprintf(cfg.Out, "fairlead: serving the registry at %s\nfairlead: read %s and %s from %s; state in %s\nFAIRLEAD_REGISTRY=%s\n",
		addr, counted(services, "service", "services"), counted(policies, "policy", "policies"), cfg.Manifests, cfg.State,
		reachable(addr)) // nobody else could be told of an error
}

// reachable is an address to connect to, for one that is listened on.
func reachable(addr net.Addr) string {
	ap, err := netip.ParseAddrPort(addr.String())
	if err != nil || !ap.Addr().IsUnspecified() {
		return addr.String()
	}
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), ap.Port()).String()
}

func counted(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return strconv.Itoa(n) + " " + many
}
