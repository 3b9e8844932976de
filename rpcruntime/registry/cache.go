// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package registry

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/go-logr/logr"

	"github.com/fairlead/fairlead/rpcruntime/policy"
)

// A cache file is the line cacheMagic, the SHA-256 of what follows, and that: a
// cacheEntry in MessagePack. docs/registry-protocol.md §7
const (
	cacheMagic = "fairlead-registry-cache 1\n"
	cacheKind  = "fairlead-registry-cache "
	// maxCacheFile bounds what is read; nothing larger can have been staged.
	maxCacheFile = 2 * maxStaged
)

// cacheEntry is a snapshot as it is kept: with the parts as they came, so that
// the digest stays what the registry knows and an upgrade can read more of them.
type cacheEntry struct {
	Service string      `msgpack:"s"`
	Role    policy.Role `msgpack:"r"`
	// Namespace is that of the process: it says which overlay is right.
	Namespace string        `msgpack:"ns,omitempty"`
	Epoch     string        `msgpack:"e,omitempty"`
	AsOf      policy.AsOf   `msgpack:"a,omitempty"`
	Parts     []policy.Part `msgpack:"p"`
}

func (m *cacheEntry) read(r *reader) {
	r.object(func(key string) bool {
		switch key {
		case "s":
			m.Service = r.text(maxText)
		case "r":
			m.Role = role(r)
		case "ns":
			m.Namespace = r.text(maxText)
		case "e":
			m.Epoch = r.text(maxText)
		case "a":
			m.AsOf = asOf(r)
		case "p":
			r.list(MaxParts, func() { m.Parts = append(m.Parts, cachedPart(r)) })
		default:
			return false
		}
		return true
	})
}

func cachedPart(r *reader) (p policy.Part) {
	r.object(func(key string) bool {
		switch key {
		case "n":
			p.Name = r.text(maxText)
		case "i":
			r.list(anyCount, func() { p.Items = append(p.Items, item(r)) })
		case "d":
			p.Digest = r.digest()
		default:
			return false
		}
		return true
	})
	return p
}

// cache is the last-known-good cache: a file for each service and role, replaced
// by renaming. A process that is killed loses at most what came in the last
// saveInterval; files are not synced to the disk, since the checksum finds one
// that a crash of the machine left half-written.
//
// load, save and remove are for one goroutine, the client's loop. Writing
// happens on a goroutine of its own.
type cache struct {
	dir       string // empty: no cache
	namespace string
	log       logr.Logger
	writing   *sync.WaitGroup
	// closing is closed by close.
	closing chan struct{}

	mu sync.Mutex // guards what follows
	// files are those that have been touched by this process.
	files map[ServiceRole]*cacheFile
}

// cacheFile is what is to become of a file.
type cacheFile struct {
	// next is to be written, or with remove nothing is to be left; both are
	// cleared when the writer takes them.
	next   *held
	remove bool
	// busy: a writer is at it, or waits.
	busy bool
}

func newCache(cfg Config, writing *sync.WaitGroup) *cache {
	return &cache{
		dir: cfg.CacheDir, namespace: cfg.Identity.Namespace, log: cfg.Log, writing: writing,
		closing: make(chan struct{}), files: make(map[ServiceRole]*cacheFile),
	}
}

// name is unique: names of services have no underscore.
func (c *cache) name(key ServiceRole) string {
	return filepath.Join(c.dir, strings.ReplaceAll(key.Service, "/", "_")+"."+strings.ToLower(string(key.Role)))
}

// load gives what is kept of a service, nil for nothing. A file that is damaged
// is removed.
func (c *cache) load(key ServiceRole) *held {
	if c.dir == "" {
		return nil
	}
	if h, known := c.pending(key); known {
		return h
	}
	name := c.name(key)
	data, err := readFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	var h *held
	if err == nil {
		h, err = c.decode(key, data)
	}
	switch {
	case errors.Is(err, errOtherCache):
		c.log.Info("cache file left alone", "file", name, "reason", err.Error())
		return nil
	case err != nil:
		c.log.Info("cache file ignored and removed", "file", name, "reason", err.Error())
		if err := os.Remove(name); err != nil {
			c.log.Info("cache file not removed", "file", name, "error", err.Error())
		}
		return nil
	}
	return h
}

// pending gives what waits to be written: the file is older.
func (c *cache) pending(key ServiceRole) (*held, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f := c.files[key]
	if f == nil || f.next == nil && !f.remove {
		return nil, false
	}
	if f.next == nil {
		return nil, true
	}
	h := *f.next
	h.origin = Cached
	return &h, true
}

func readFile(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxCacheFile+1))
	if err == nil && len(data) > maxCacheFile {
		err = fmt.Errorf("more than %d bytes", maxCacheFile)
	}
	return data, err
}

// errOtherCache is a file that is whole and not for this process.
var errOtherCache = errors.New("written by another version, or for another namespace")

func (c *cache) decode(key ServiceRole, data []byte) (*held, error) {
	rest, ok := bytes.CutPrefix(data, []byte(cacheMagic))
	if !ok {
		if bytes.HasPrefix(data, []byte(cacheKind)) {
			return nil, errOtherCache
		}
		return nil, errors.New("not a cache file")
	}
	if len(rest) < sha256.Size {
		return nil, errShort
	}
	body := rest[sha256.Size:]
	if sum := sha256.Sum256(body); !bytes.Equal(sum[:], rest[:sha256.Size]) {
		return nil, errors.New("its checksum does not fit")
	}
	entry := new(cacheEntry)
	if err := decode(body, "cache entry", entry); err != nil {
		return nil, err
	}
	if entry.Namespace != c.namespace {
		return nil, errOtherCache
	}
	if entry.Service != key.Service || entry.Role != key.Role {
		return nil, fmt.Errorf("it holds %q as %q", entry.Service, entry.Role)
	}
	for i := range entry.Parts {
		if err := entry.Parts[i].Verify(); err != nil {
			return nil, err
		}
	}
	return newHeld(nil, key, entry.Epoch, entry.AsOf, entry.Parts, Cached)
}

// save has h written before long.
func (c *cache) save(key ServiceRole, h *held) { c.plan(key, h) }

// remove has the file removed.
func (c *cache) remove(key ServiceRole) { c.plan(key, nil) }

func (c *cache) plan(key ServiceRole, h *held) {
	if c.dir == "" {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	f := c.files[key]
	if f == nil {
		f = new(cacheFile)
		c.files[key] = f
	}
	f.next, f.remove = h, h == nil
	if f.busy {
		return
	}
	f.busy = true
	c.writing.Add(1)
	go func() {
		defer c.writing.Done()
		c.write(key, f)
	}()
}

// write writes a file until nothing is left to be done, and not too often.
func (c *cache) write(key ServiceRole, f *cacheFile) {
	for {
		c.mu.Lock()
		h, remove := f.next, f.remove
		f.next, f.remove = nil, false
		f.busy = h != nil || remove
		if !f.busy {
			c.mu.Unlock()
			return
		}
		c.mu.Unlock()
		var err error
		if remove {
			if err = os.Remove(c.name(key)); errors.Is(err, fs.ErrNotExist) {
				err = nil
			}
		} else {
			err = c.replace(key, h)
		}
		if err != nil {
			c.log.Info("cache not written", "service", key.Service, "role", key.Role, "error", err.Error())
		}
		pause := time.NewTimer(saveInterval)
		select {
		case <-pause.C:
		case <-c.closing:
		}
		pause.Stop()
	}
}

func (c *cache) replace(key ServiceRole, h *held) error {
	body, err := encode(&cacheEntry{
		Service: key.Service, Role: key.Role, Namespace: c.namespace, Epoch: h.epoch, AsOf: h.asOf, Parts: h.parts,
	})
	if err != nil {
		return err
	}
	return replaceFile(c.dir, c.name(key), body)
}

// replaceFile replaces a cache file, by renaming.
func replaceFile(dir, name string, body []byte) error {
	sum := sha256.Sum256(body)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(dir, "*.tmp") // others may use the folder, too
	if err != nil {
		return err
	}
	_, err = f.Write(append(append([]byte(cacheMagic), sum[:]...), body...))
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), name)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return nil
}

// close writes what is left without further waiting; the writers are waited for
// by whoever owns them.
func (c *cache) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	select {
	case <-c.closing:
	default:
		close(c.closing)
	}
}
