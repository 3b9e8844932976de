// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package registry

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"github.com/go-logr/logr"

	"github.com/fairlead/fairlead/rpcruntime/policy"
)

// trustFile is the name in the cache folder. Names of services have an
// underscore there.
const trustFile = "registry.trust"

// Trust is which authorities a process believes when the registry shows its
// certificate: those of a mounted file, until the registry sends others over a
// connection that was verified. What it sent is kept in the cache folder, for a
// process whose mounted file is old. All methods are safe for concurrent use.
//
// What was sent last supersedes the file as it was then. A file that has changed
// since is believed as well, until the registry sends anew: only the next
// connection shows which of the two is newer.
type Trust struct {
	file, dir string
	log       logr.Logger

	saving sync.Mutex // held while the cache file is replaced

	mu     sync.Mutex // guards what follows
	loaded bool
	// pushed is what the registry sent last; nil for nothing. Never changed.
	pushed []byte
	// against is the digest of the mounted file when pushed came.
	against policy.Digest
}

// NewTrust makes a Trust of the authorities in file, in PEM. dir is the folder of
// the cache; empty keeps nothing. Files are read when they are needed.
func NewTrust(file, dir string, log logr.Logger) *Trust {
	return &Trust{file: file, dir: dir, log: log}
}

// Pool gives the authorities to believe now. An error says which file is missing
// or wrong.
func (t *Trust) Pool() (*x509.CertPool, error) {
	mounted, err := t.mounted()
	t.mu.Lock()
	t.load()
	pushed, against := t.pushed, t.against
	t.mu.Unlock()
	pool := x509.NewCertPool()
	some := false
	if pushed != nil {
		some = pool.AppendCertsFromPEM(pushed)
	}
	if err == nil && (!some || BundleDigest(mounted) != against) {
		if pool.AppendCertsFromPEM(mounted) {
			some = true
		} else {
			err = fmt.Errorf("%s holds no certificate in PEM", t.file)
		}
	}
	if some {
		return pool, nil
	}
	return nil, err
}

// Digest is that of what the registry sent last, else of the mounted file; zero
// without either.
func (t *Trust) Digest() policy.Digest {
	t.mu.Lock()
	t.load()
	pushed := t.pushed
	t.mu.Unlock()
	if pushed != nil {
		return BundleDigest(pushed)
	}
	if mounted, err := t.mounted(); err == nil {
		return BundleDigest(mounted)
	}
	return policy.Digest{}
}

// take replaces what the registry sent before.
func (t *Trust) take(bundle []byte) error {
	if !x509.NewCertPool().AppendCertsFromPEM(bundle) {
		return &FrameError{Kind: KindTrust, Err: errors.New("the bundle holds no certificate in PEM")}
	}
	var against policy.Digest
	if mounted, err := t.mounted(); err == nil {
		against = BundleDigest(mounted)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.loaded, t.pushed, t.against = true, bundle, against
	return nil
}

// mounted reads the file.
func (t *Trust) mounted() ([]byte, error) {
	info, err := os.Stat(t.file)
	if err != nil {
		return nil, err
	}
	if info.Size() > MaxBundle {
		return nil, fmt.Errorf("%s has %d bytes, more than %d: that is no bundle of authorities", t.file, info.Size(), MaxBundle)
	}
	return os.ReadFile(t.file)
}

// cachedTrust is what the cache file holds.
type cachedTrust struct {
	Bundle  []byte        `msgpack:"b"`
	Against policy.Digest `msgpack:"m,omitempty"`
}

func (m *cachedTrust) read(r *reader) {
	r.object(func(key string) bool {
		switch key {
		case "b":
			m.Bundle = r.bytes(MaxBundle)
		case "m":
			m.Against = r.digest()
		default:
			return false
		}
		return true
	})
}

// load reads the cache file, once. REQUIRES: mu is held.
func (t *Trust) load() {
	if t.loaded || t.dir == "" {
		return
	}
	t.loaded = true
	name := filepath.Join(t.dir, trustFile)
	data, err := readFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		return
	}
	var kept cachedTrust
	if err == nil {
		err = openCached(data, &kept)
	}
	if err == nil && !x509.NewCertPool().AppendCertsFromPEM(kept.Bundle) {
		err = errors.New("no certificate in it")
	}
	if err != nil {
		t.log.Info("cache file ignored", "file", name, "reason", err.Error())
		return
	}
	t.pushed, t.against = kept.Bundle, kept.Against
}

// openCached checks a cache file and reads what is in it.
func openCached(data []byte, into message) error {
	rest, ok := bytes.CutPrefix(data, []byte(cacheMagic))
	if !ok || len(rest) < sha256.Size {
		return errors.New("not a cache file")
	}
	body := rest[sha256.Size:]
	if sum := sha256.Sum256(body); !bytes.Equal(sum[:], rest[:sha256.Size]) {
		return errors.New("its checksum does not fit")
	}
	return decode(body, "cached authorities", into)
}

// save writes what is held to the cache folder.
func (t *Trust) save() {
	if t.dir == "" {
		return
	}
	t.saving.Lock() // so that the newest is written last
	defer t.saving.Unlock()
	t.mu.Lock()
	kept := cachedTrust{Bundle: t.pushed, Against: t.against}
	t.mu.Unlock()
	name := filepath.Join(t.dir, trustFile)
	body, err := encode(&kept)
	if err == nil {
		err = replaceFile(t.dir, name, body)
	}
	if err != nil {
		t.log.Info("cache not written", "file", name, "error", err.Error())
	}
}

// trust takes the authorities that the registry sends.
func (c *Client) trust(s *session, p *TrustFrame) error {
	if c.cfg.Trust == nil || !s.secure {
		return nil // nothing vouches for what comes here
	}
	if err := c.cfg.Trust.take(p.Bundle); err != nil {
		return err
	}
	c.trustAck = true
	c.ackSoon()
	c.spawn(c.cfg.Trust.save)
	return nil
}
