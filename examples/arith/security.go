// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package arith

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"flag"
	"fmt"
	"os"

	"github.com/fairlead/fairlead/rpcruntime"
	"github.com/fairlead/fairlead/rpcruntime/status"
)

// TLSFiles names PEM files; empty ones are not there.
type TLSFiles struct {
	// Cert and Key are this side's certificate and its key.
	Cert, Key string
	// CA is whom this side trusts to vouch for the other.
	CA string
}

// Flags adds the flags that name the files. ca says what it does on this side.
func (f *TLSFiles) Flags(flags *flag.FlagSet, ca string) {
	flags.StringVar(&f.Cert, "tls-cert", "", "PEM file with this side's certificate; with --tls-key")
	flags.StringVar(&f.Key, "tls-key", "", "PEM file with the key of that certificate")
	flags.StringVar(&f.CA, "tls-ca", "", ca)
}

// Server returns the configuration of a server: nil if there are no files. With
// CA, callers must show a certificate that it vouches for.
func (f *TLSFiles) Server() (*tls.Config, error) {
	cfg, err := f.pair()
	if err != nil || cfg == nil && f.CA == "" {
		return nil, err
	}
	if cfg == nil {
		return nil, errors.New("--tls-ca says whose certificates callers need, but the server has none itself: add --tls-cert and --tls-key")
	}
	if f.CA == "" {
		return cfg, nil
	}
	cfg.ClientAuth = tls.RequireAndVerifyClientCert
	cfg.ClientCAs, err = f.authorities()
	return cfg, err
}

// Client returns the configuration of a client: nil if there are no files. Without
// CA it trusts the authorities of the system. With Cert and Key it shows that
// certificate to servers that ask.
func (f *TLSFiles) Client(serverName string) (*tls.Config, error) {
	cfg, err := f.pair()
	if err != nil {
		return nil, err
	}
	if cfg == nil && f.CA == "" {
		if serverName != "" {
			return nil, errors.New("--tls-name is the name in the server's certificate, but nothing asks for TLS: add --tls-ca")
		}
		return nil, nil //nolint:nilnil // no TLS is a valid answer
	}
	if cfg == nil {
		cfg = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	cfg.ServerName = serverName
	if f.CA != "" {
		cfg.RootCAs, err = f.authorities()
	}
	return cfg, err
}

// pair returns a configuration with this side's certificate, if it has one.
func (f *TLSFiles) pair() (*tls.Config, error) {
	switch {
	case f.Cert == "" && f.Key == "":
		return nil, nil //nolint:nilnil // no certificate is a valid answer
	case f.Key == "":
		return nil, fmt.Errorf("--tls-cert %s needs its key: add --tls-key", f.Cert)
	case f.Cert == "":
		return nil, fmt.Errorf("--tls-key %s needs its certificate: add --tls-cert", f.Key)
	}
	pair, err := tls.LoadX509KeyPair(f.Cert, f.Key)
	if err != nil {
		return nil, fmt.Errorf("--tls-cert %s and --tls-key %s: %w", f.Cert, f.Key, err)
	}
	return &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{pair}}, nil
}

func (f *TLSFiles) authorities() (*x509.CertPool, error) {
	pem, err := os.ReadFile(f.CA)
	if err != nil {
		return nil, fmt.Errorf("--tls-ca: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("--tls-ca %s: there is no PEM certificate in it", f.CA)
	}
	return pool, nil
}

// RequireToken refuses calls that do not carry the token. How long it takes says
// nothing of how much of a token was right.
func RequireToken(token string) rpcruntime.Authenticator {
	want := sha256.Sum256([]byte(token))
	return func(_ context.Context, req *rpcruntime.AuthRequest) (string, error) {
		got := sha256.Sum256([]byte(req.Token))
		switch {
		case req.Token == "":
			return "", status.New(status.Unauthenticated, "this server wants a token, and the call has none")
		case subtle.ConstantTimeCompare(got[:], want[:]) != 1:
			return "", status.New(status.Unauthenticated, "the token is not the one that this server wants")
		default:
			return "", nil
		}
	}
}
