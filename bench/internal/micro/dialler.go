// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package micro

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"

	"github.com/fairlead/fairlead/rpcruntime/wire"
)

// dialler opens connections to a server and keeps them.
type dialler struct {
	address     string
	certificate string // the server's, in Base64; "-" without TLS
	overTLS     bool
}

// run opens the connections, makes a call on each, says that they are open, and
// keeps them until its input ends.
func (d *dialler) run(ctx context.Context, n int, lines *bufio.Scanner, out io.Writer) error {
	secure, err := d.secure()
	if err != nil {
		return err
	}
	const diallers = 16
	conns := make([]net.Conn, n)
	errs := make([]error, diallers)
	var all sync.WaitGroup
	for k := range diallers {
		all.Go(func() {
			for i := k; i < n && errs[k] == nil; i += diallers {
				conns[i], errs[k] = d.open(ctx, secure)
			}
		})
	}
	all.Wait()
	defer func() {
		for _, c := range conns {
			if c != nil {
				_ = c.Close()
			}
		}
	}()
	if err := errors.Join(errs...); err != nil {
		return err
	}
	if _, err := fmt.Fprintln(out, "open"); err != nil {
		return fmt.Errorf("answer: %w", err)
	}
	for lines.Scan() { // until nobody needs them any more
	}
	return lines.Err()
}

// secure is the configuration of TLS, or nil without it.
func (d *dialler) secure() (*tls.Config, error) {
	if !d.overTLS {
		return nil, nil
	}
	der, err := base64.StdEncoding.DecodeString(d.certificate)
	if err != nil {
		return nil, fmt.Errorf("the server's certificate: %w", err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("the server's certificate: %w", err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(cert)
	host, _, err := net.SplitHostPort(d.address)
	if err != nil {
		return nil, fmt.Errorf("the server's address: %w", err)
	}
	return &tls.Config{RootCAs: roots, ServerName: host, MinVersion: tls.VersionTLS13}, nil
}

// open makes a connection and one call on it.
func (d *dialler) open(ctx context.Context, secure *tls.Config) (net.Conn, error) {
	nc, err := new(net.Dialer).DialContext(ctx, "tcp", d.address)
	if err != nil {
		return nil, fmt.Errorf("dial: %w", err)
	}
	if secure != nil {
		nc = tls.Client(nc, secure)
	}
	return nc, callOnce(nc)
}

// callOnce makes the first call of a connection, announced as a client of ours
// does, and reads until its answer has come.
func callOnce(nc net.Conn) error {
	request := wire.Begin(nil, wire.RequestHeader(1, wire.SerializeRaw, false), "Bench", "Echo")
	announcement := wire.Announcement{Seq: 1, Caller: "bench/dialler", Features: []string{wire.FeatureDrain, wire.FeatureCancel, wire.FeatureWindow, wire.FeatureLoad}}
	request.MetaBytes(wire.KeyAnnounce, wire.AppendAnnouncement(nil, announcement))
	if _, err := nc.Write(request.Payload(make([]byte, rawBytes))); err != nil {
		return fmt.Errorf("call: %w", err)
	}
	prefix := make([]byte, wire.PrefixLen)
	for {
		if _, err := io.ReadFull(nc, prefix); err != nil {
			return fmt.Errorf("answer: %w", err)
		}
		header, size, err := wire.ParsePrefix(prefix)
		if err != nil {
			return fmt.Errorf("answer: %w", err)
		}
		if _, err := io.CopyN(io.Discard, nc, int64(size-wire.PrefixLen)); err != nil {
			return fmt.Errorf("answer: %w", err)
		}
		if !header.Response() || header.Seq != 1 {
			continue // what the server says of itself
		}
		if header.Status() != wire.StatusNormal {
			return errors.New("the server refused the call")
		}
		return nil
	}
}
