// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package serve

import (
	"fmt"
	"net"
	"net/netip"
)

// Check says what is wrong with an address to listen on, host:port. Without TLS
// only loopback will do, unless insecure is set.
func Check(address string, secure, insecure bool) error {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return fmt.Errorf("registry address %q is not host:port: %w", address, err)
	}
	if secure || insecure || Loopback(host) {
		return nil
	}
	return fmt.Errorf("registry address %q can be reached from other machines, and without TLS connections are neither encrypted nor "+
		"authenticated: bind 127.0.0.1, leave --registry-tls out, or say that this is meant with --registry-insecure-bind", address)
}

// Loopback says whether a host is this machine only. Names but localhost are not
// looked up: what they mean may change.
func Loopback(host string) bool {
	if host == "localhost" {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.IsLoopback()
}
