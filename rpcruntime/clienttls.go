// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package rpcruntime

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"reflect"
	"syscall"

	"github.com/fairlead/fairlead/rpcruntime/status"
)

// secure says whether a client's connections use TLS, and how. Clients for which
// it is equal may share connections.
type secure struct {
	on bool
	// cfg is as the user gave it, and nil for the defaults.
	cfg *tls.Config
}

// WithTLS makes the client's connections TLS ones. cfg holds the authorities to
// trust and, for mutual TLS, this side's certificate; nil trusts the system's
// authorities. It must not be changed afterwards, and clients share connections
// only if they were given the same one. Without a ServerName in it, the
// certificate must be for the host of the endpoint's address: with a registry
// that is an IP address, so name the service. The handshake is part of the dial
// and of the time for that.
func WithTLS(cfg *tls.Config) ClientOption {
	return clientOption(func(o *clientOptions) { o.secure = secure{on: true, cfg: cfg} })
}

// handshake makes a TLS connection of nc, which it closes on failure.
func (s secure) handshake(ctx context.Context, nc net.Conn, address string) (net.Conn, error) {
	cfg := s.cfg.Clone()
	if cfg == nil {
		cfg = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	if cfg.ServerName == "" {
		cfg.ServerName = address
		if host, _, err := net.SplitHostPort(address); err == nil {
			cfg.ServerName = host
		}
	}
	conn := tls.Client(nc, cfg)
	if err := conn.HandshakeContext(ctx); err != nil {
		_ = nc.Close() // what went wrong is known
		return nil, &handshakeError{address, err}
	}
	return conn, nil
}

// handshakeError is a TLS connection that could not be made.
type handshakeError struct {
	address string
	cause   error
}

// Unwrap returns what crypto/tls said.
func (e *handshakeError) Unwrap() error { return e.cause }

// Error says whose fault it seems to be, and what to look at.
func (e *handshakeError) Error() string {
	var record tls.RecordHeaderError
	var untrusted *tls.CertificateVerificationError
	switch {
	case errors.As(e.cause, &record):
		return fmt.Sprintf("the peer at %s does not speak TLS: it answered with something else; give its server a certificate, or leave WithTLS out", e.address)
	case errors.Is(e.cause, io.EOF), errors.Is(e.cause, io.ErrUnexpectedEOF), errors.Is(e.cause, syscall.ECONNRESET):
		return fmt.Sprintf("the peer at %s closed the connection during the TLS handshake: perhaps it does not speak TLS", e.address)
	case errors.Is(e.cause, context.DeadlineExceeded):
		return fmt.Sprintf("the TLS handshake with %s took more than %s: perhaps the peer does not speak TLS", e.address, dialTimeout)
	case errors.As(e.cause, &untrusted):
		return fmt.Sprintf("the certificate of %s is not trusted: %v", e.address, untrusted.Err)
	case isRefusal(e.cause):
		return refusedCertificate(e.address, e.cause)
	default:
		return fmt.Sprintf("the TLS handshake with %s failed: %v", e.address, e.cause)
	}
}

// refusedCertificate is the text for a peer that does not take ours.
func refusedCertificate(address string, cause error) string {
	return fmt.Sprintf("the peer at %s does not accept this side's certificate: %v", address, cause)
}

// The alerts by which a server refuses a client's certificate or the lack of
// one. RFC 8446 §6.2
const (
	alertBadCertificate      = 42
	alertCertificateUnknown  = 46
	alertUnknownCA           = 48
	alertAccessDenied        = 49
	alertCertificateRequired = 116
)

// isRefusal reports whether err is such an alert, sent by the peer. crypto/tls
// has no exported type for them, but says that they came from the remote side,
// and they are numbers.
func isRefusal(err error) bool {
	var op *net.OpError
	if !errors.As(err, &op) || op.Op != "remote error" || op.Err == nil {
		return false
	}
	v := reflect.ValueOf(op.Err)
	if v.Kind() != reflect.Uint8 {
		return false
	}
	switch n := v.Uint(); n {
	case alertUnknownCA, alertAccessDenied, alertCertificateRequired:
		return true
	default:
		return n >= alertBadCertificate && n <= alertCertificateUnknown
	}
}

// refusedLate makes an error of a lost connection better if the peer refused our
// certificate: with TLS 1.3 that comes when this side's handshake is over and a
// request may have left, which the peer can then not have read. From a peer that
// was heard before, an alert says nothing of the kind.
func refusedLate(err *status.Error, address string, heard bool) *status.Error {
	if heard || !isRefusal(err) {
		return err
	}
	return unmade(refusedCertificate(address, errors.Unwrap(err))).WithCause(err)
}
