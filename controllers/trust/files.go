// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package trust

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
)

// Files has what somebody else keeps in a folder: tls.crt, tls.key and ca.crt, as
// cert-manager's Secrets do. They are read again when they have changed.
type Files struct {
	dir, host string
	every     time.Duration
	now       func() time.Time
	changed   func()
	log       logr.Logger
	metrics   *metrics
	shown     *Shown
	// last is what was read last, good or not.
	last []byte
}

// NewFiles reads the folder, whose certificate must be for host. changed is
// called when bundle or certificate are others than before; it must not block.
func NewFiles(dir, host string, changed func(), registerer prometheus.Registerer, log logr.Logger) (*Files, error) {
	m, err := newMetrics(registerer)
	if err != nil {
		return nil, err
	}
	f := &Files{
		dir: dir, host: host, every: 10 * time.Second, now: time.Now, changed: changed, log: log, metrics: m, shown: newShown(),
	}
	if err := f.read(); err != nil {
		return nil, fmt.Errorf("registry certificate: %w", err)
	}
	return f, nil
}

// Shown gives what is shown to clients.
func (f *Files) Shown() *Shown { return f.shown }

// Start reads the folder again and again until ctx ends.
func (f *Files) Start(ctx context.Context) error {
	ticker := time.NewTicker(f.every)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
			if err := f.read(); err != nil {
				f.metrics.failures.Inc()
				f.log.Error(err, "the registry's new certificate is not used; the one before stays", "folder", f.dir)
			}
		}
	}
}

// read takes up the files if they are others than before.
func (f *Files) read() error {
	var parts [3][]byte
	for i, name := range []string{"tls.crt", "tls.key", "ca.crt"} {
		content, err := os.ReadFile(filepath.Join(f.dir, name))
		if err != nil {
			return err
		}
		parts[i] = content
	}
	all := bytes.Join(parts[:], []byte{0})
	if bytes.Equal(all, f.last) {
		return nil
	}
	f.last = all
	pair, err := tls.X509KeyPair(parts[0], parts[1])
	if err != nil {
		return fmt.Errorf("tls.crt and tls.key in %s: %w", f.dir, err)
	}
	bundle, err := f.check(&pair, parts[2])
	if err != nil {
		return fmt.Errorf("%s: %w", f.dir, err)
	}
	f.shown.show(&pair, bundle)
	f.metrics.certificate.Set(float64(pair.Leaf.NotAfter.Unix()))
	f.changed()
	return nil
}

// check says whether clients that believe ca.crt will take the certificate.
func (f *Files) check(pair *tls.Certificate, ca []byte) (bundle []byte, err error) {
	authorities, err := parseCerts(ca)
	if err != nil {
		return nil, fmt.Errorf("ca.crt: %w", err)
	}
	if len(authorities) == 0 {
		return nil, errors.New("ca.crt holds no certificate in PEM")
	}
	roots, between := x509.NewCertPool(), x509.NewCertPool()
	earliest := authorities[0].NotAfter
	for _, c := range authorities {
		roots.AddCert(c)
		if c.NotAfter.Before(earliest) {
			earliest = c.NotAfter
		}
	}
	for _, der := range pair.Certificate[1:] {
		if c, err := x509.ParseCertificate(der); err == nil {
			between.AddCert(c)
		}
	}
	_, err = pair.Leaf.Verify(x509.VerifyOptions{Roots: roots, Intermediates: between, DNSName: f.host, CurrentTime: f.now()})
	if err != nil {
		return nil, fmt.Errorf("clients that believe ca.crt will not take tls.crt: %w", err)
	}
	f.metrics.authority.Set(float64(earliest.Unix()))
	return certPEM(authorities...), nil
}
