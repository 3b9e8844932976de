// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package trust

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"sync/atomic"
)

// Shown is what clients are shown: our certificate, and whom to believe. All
// methods are safe for concurrent use.
type Shown struct {
	certificate atomic.Pointer[tls.Certificate]
	bundle      atomic.Pointer[[]byte] // what it points to is never changed
	ready       chan struct{}          // closed by the first show
}

func newShown() *Shown { return &Shown{ready: make(chan struct{})} }

// show replaces what is shown; a nil certificate leaves the one there is. It
// returns whether the bundle is another. It has one caller at a time.
func (s *Shown) show(certificate *tls.Certificate, bundle []byte) bool {
	before := s.Bundle()
	s.bundle.Store(&bundle)
	if certificate != nil && s.certificate.Swap(certificate) == nil {
		close(s.ready)
	}
	return !bytes.Equal(before, bundle)
}

// Wait waits for the first certificate; false when ctx ends before.
func (s *Shown) Wait(ctx context.Context) bool {
	select {
	case <-s.ready:
		return true
	case <-ctx.Done():
		return false
	}
}

// Bundle is what clients are to believe, in PEM; nil before the first
// certificate. It is not to be changed.
func (s *Shown) Bundle() []byte {
	if b := s.bundle.Load(); b != nil {
		return *b
	}
	return nil
}

// ServerTLS is how the registry is served: each handshake has the certificate of
// its time, and connections that stand are left alone.
func (s *Shown) ServerTLS() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS12,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			if c := s.certificate.Load(); c != nil {
				return c, nil
			}
			return nil, errors.New("there is no certificate yet")
		},
	}
}

// ClientTLS is how one replica calls another, as of now: by any of its addresses,
// it must have a certificate for host.
func (s *Shown) ClientTLS(host string) *tls.Config {
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(s.Bundle())
	return &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: pool, ServerName: host}
}
