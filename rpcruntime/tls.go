// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package rpcruntime

import (
	"crypto/tls"
	"errors"
)

// ServerTLS makes the server take TLS, and nothing else unless AlsoPlaintext is
// there too. cfg is copied; it needs a certificate, and with its ClientAuth and
// ClientCAs it demands one of callers (mutual TLS). A MinVersion of 0 means TLS
// 1.2. A handshake has 10 s from the connection's beginning and counts as a
// connection. Peer.TLS has what was agreed.
func ServerTLS(cfg *tls.Config) ServerOption {
	return serverOption(func(o *serverOptions) {
		o.wantsTLS = true
		if cfg == nil {
			return
		}
		o.tls = cfg.Clone()
		if o.tls.MinVersion == 0 {
			o.tls.MinVersion = tls.VersionTLS12
		}
	})
}

// AlsoPlaintext lets a server with ServerTLS take connections without TLS on the
// same port: for the time in which callers move over. It is an error to use it
// without ServerTLS.
func AlsoPlaintext() ServerOption {
	return serverOption(func(o *serverOptions) { o.plaintext = true })
}

// checkTLS says why the options about TLS cannot be meant.
func (o *serverOptions) checkTLS() error {
	switch {
	case o.wantsTLS && o.tls == nil:
		return errors.New("rpcruntime: ServerTLS: the configuration is nil: pass one with a certificate")
	case o.wantsTLS && len(o.tls.Certificates) == 0 && o.tls.GetCertificate == nil && o.tls.GetConfigForClient == nil:
		return errors.New("rpcruntime: ServerTLS: the configuration has no certificate: set Certificates, GetCertificate or GetConfigForClient")
	case o.plaintext && !o.wantsTLS:
		return errors.New("rpcruntime: AlsoPlaintext without ServerTLS: a server takes plaintext anyway; remove it, or add ServerTLS")
	default:
		return nil
	}
}
