// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package registry

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fairlead/fairlead/rpcruntime/policy"
)

// fill runs a client that gets a service and ends, and gives the cache file.
func fill(t *testing.T, dir string, parts []policy.Part) (name string) {
	t.Helper()
	bubble(t, Config{CacheDir: dir}, func(t *testing.T, f *fake, c *Client) {
		var n notes
		c.Watch(arith, policy.Caller, &n)
		synctest.Wait()
		f.push(state(parts, at(5))...)
		n.one(t, "changed")
	})
	return filepath.Join(dir, "shop_arith.caller")
}

func TestStartsFromTheCache(t *testing.T) {
	dir := t.TempDir()
	parts := service(t, 7*time.Second, "a", "b")
	name := fill(t, dir, parts)
	if info, err := os.Stat(name); err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("got %v, %v", info, err)
	}
	bubble(t, Config{CacheDir: dir}, func(t *testing.T, f *fake, c *Client) {
		f.down = true
		var n notes
		c.Watch(arith, policy.Caller, &n)
		got := n.take()
		if len(got) != 2 || got[0].what != "changed" || got[0].origin != Cached || got[1].what != "ambient" {
			t.Fatalf("got %+v", got)
		}
		if s := got[0].snap; len(s.Endpoints) != 2 || s.Epoch != "e1" || s.AsOf.Get("Thing").Changed != 5 {
			t.Errorf("got %+v", s)
		}
		f.set(func() { f.down = false })
		f.pause(retryMax)
		n.take()
		change := changeOf(parts...)
		change.Service, change.Epoch, change.AsOf = arith, "e1", at(6)
		if s := f.lastSub(); s.Digest != change.Digest || len(s.Parts) != 2 {
			t.Errorf("subscribes with %+v", s)
		}
		f.push(change) // nothing but the change: the parts are held
		if got := n.one(t, "changed"); got.origin != Live || got.snap.AsOf.Get("Thing").Changed != 6 {
			t.Errorf("got %+v", got)
		}
	})
}

// If the registry answers, what the cache holds is not shown first.
func TestCacheWaitsForTheRegistry(t *testing.T) {
	dir := t.TempDir()
	parts := service(t, time.Second, "a")
	fill(t, dir, parts)
	bubble(t, Config{CacheDir: dir}, func(t *testing.T, f *fake, c *Client) {
		var n notes
		c.Watch(arith, policy.Caller, &n)
		n.none(t)
		f.push(state(service(t, 2*time.Second, "a"), at(9))...)
		if got := n.one(t, "changed"); got.origin != Live || got.snap.Effective("").Timeout != 2*time.Second {
			t.Errorf("got %+v", got)
		}
	})
	bubble(t, Config{CacheDir: dir}, func(t *testing.T, f *fake, c *Client) {
		f.answer = func(*SubscribeRequest) (*SubscribeReply, error) {
			return &SubscribeReply{Epoch: "e1", Refused: []Refusal{{Service: arith, Role: policy.Caller, Reason: ReasonNotFound}}}, nil
		}
		var n notes
		c.Watch(arith, policy.Caller, &n)
		var missing *NotFoundError
		if got := n.one(t, "invalid"); !errors.As(got.err, &missing) {
			t.Errorf("got %v", got.err)
		}
		f.pause(time.Minute)
		n.none(t)
	})
}

func TestGoneServiceLeavesTheCache(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, "shop_arith.caller")
	bubble(t, Config{CacheDir: dir}, func(t *testing.T, f *fake, c *Client) {
		var n notes
		c.Watch(arith, policy.Caller, &n)
		synctest.Wait()
		f.push(state(service(t, time.Second, "a"), at(1))...)
		n.one(t, "changed")
		f.pause(time.Second)
		if _, err := os.Stat(name); err != nil {
			t.Fatal(err)
		}
		f.push(&GoneFrame{Service: arith, Role: policy.Caller, Epoch: "e1", AsOf: at(2)})
		n.one(t, "invalid")
		f.pause(2 * saveInterval)
		if _, err := os.Stat(name); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("the file: %v", err)
		}
	})
}

func TestCacheKeepsTheNewestAndIsNotWrittenAllTheTime(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, "shop_arith.caller")
	bubble(t, Config{CacheDir: dir}, func(t *testing.T, f *fake, c *Client) {
		var n notes
		c.Watch(arith, policy.Caller, &n)
		synctest.Wait()
		writes := 0
		var last []byte
		for i := range uint64(50) { // five seconds of changes
			f.push(state(service(t, time.Duration(i+1)*time.Second, "a"), at(i+1))...)
			data, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(data, last) {
				writes++
			}
			last = data
			f.pause(100 * time.Millisecond)
		}
		if writes > 6 {
			t.Errorf("%d writes in 5 s", writes)
		}
	})
	left, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil || len(left) != 1 {
		t.Errorf("left %v, %v", left, err)
	}
	bubble(t, Config{CacheDir: dir}, func(t *testing.T, f *fake, c *Client) {
		f.down = true
		var n notes
		c.Watch(arith, policy.Caller, &n)
		if got := n.take(); got[0].snap.Effective("").Timeout != 50*time.Second {
			t.Errorf("got %s", got[0].snap.Effective("").Timeout)
		}
	})
}

// Whatever stands in the file, the process starts; what is damaged goes away.
func TestDamagedCache(t *testing.T) {
	good := service(t, time.Second, "a")
	entry := func(change func(*cacheEntry)) func(*testing.T, []byte) []byte {
		return func(t *testing.T, _ []byte) []byte {
			e := &cacheEntry{Service: arith, Role: policy.Caller, Namespace: "web", Epoch: "e1", AsOf: at(5), Parts: append([]policy.Part(nil), good...)}
			change(e)
			body := mustEncode(t, e)
			sum := sha256.Sum256(body)
			return append(append([]byte(cacheMagic), sum[:]...), body...)
		}
	}
	tests := []struct {
		name   string
		damage func(*testing.T, []byte) []byte
		// usable: the service is there. left: the file is not removed.
		usable, left bool
	}{
		{"whole", func(_ *testing.T, b []byte) []byte { return b }, true, true},
		{"written anew", entry(func(*cacheEntry) {}), true, true},
		{"empty", func(*testing.T, []byte) []byte { return nil }, false, false},
		{"cut short", func(_ *testing.T, b []byte) []byte { return b[:len(b)-1] }, false, false},
		{"only the magic", func(*testing.T, []byte) []byte { return []byte(cacheMagic) }, false, false},
		{"a bit flipped", func(_ *testing.T, b []byte) []byte { b[len(b)-5] ^= 1; return b }, false, false},
		{"the checksum flipped", func(_ *testing.T, b []byte) []byte { b[len(cacheMagic)] ^= 1; return b }, false, false},
		{"bytes appended", func(_ *testing.T, b []byte) []byte { return append(b, 0) }, false, false},
		{"something else", func(*testing.T, []byte) []byte { return []byte(strings.Repeat("{}", 100)) }, false, false},
		{"a later version", func(_ *testing.T, b []byte) []byte {
			return bytes.Replace(b, []byte(cacheMagic), []byte(cacheKind+"2\n"), 1)
		}, false, true},
		{"another namespace's", entry(func(e *cacheEntry) { e.Namespace = "else" }), false, true},
		{"another service", entry(func(e *cacheEntry) { e.Service = "shop/other" }), false, false},
		{"another role", entry(func(e *cacheEntry) { e.Role = policy.Server }), false, false},
		{"a part missing", entry(func(e *cacheEntry) { e.Parts = e.Parts[:1] }), false, false},
		{"a part that does not add up", entry(func(e *cacheEntry) { e.Parts[0].Digest = digestOf(1) }), false, false},
		{"an item that does not decode", entry(func(e *cacheEntry) { e.Parts[0] = partOf(t, policy.PartEndpoints, "a is no endpoint") }), false, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			name := fill(t, dir, good)
			data, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(name, tt.damage(t, data), 0o600); err != nil {
				t.Fatal(err)
			}
			bubble(t, Config{CacheDir: dir}, func(t *testing.T, f *fake, c *Client) {
				f.down = true
				var n notes
				c.Watch(arith, policy.Caller, &n)
				if got := n.take(); (got[0].what == "changed") != tt.usable {
					t.Errorf("got %+v", got)
				}
				if _, err := os.Stat(name); errors.Is(err, fs.ErrNotExist) == tt.left {
					t.Errorf("the file: %v", err)
				}
			})
		})
	}
}

// A service that is watched again before its file was written is not lost.
func TestCacheKnowsWhatWaitsToBeWritten(t *testing.T) {
	dir := t.TempDir()
	bubble(t, Config{CacheDir: dir}, func(t *testing.T, f *fake, c *Client) {
		var n, keep notes
		stop := c.Watch(arith, policy.Caller, &n)
		c.Watch("shop/other", policy.Caller, &keep)
		synctest.Wait()
		f.push(state(service(t, time.Second, "a"), at(1))...)
		next := state(service(t, 2*time.Second, "a"), at(2))
		f.push(next...)
		stop()
		synctest.Wait()
		c.Watch(arith, policy.Caller, &n)
		synctest.Wait()
		f.mu.Lock()
		defer f.mu.Unlock()
		for _, s := range f.subs[len(f.subs)-1].Services {
			if s.Service == arith && (s.Digest != next[2].(*ChangeFrame).Digest || !s.Again) {
				t.Errorf("subscribes with %+v", s)
			}
		}
	})
}

func TestFolderThatCannotBeWritten(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	bubble(t, Config{CacheDir: filepath.Join(file, "below")}, func(t *testing.T, f *fake, c *Client) {
		var n notes
		c.Watch(arith, policy.Caller, &n)
		synctest.Wait()
		f.push(state(service(t, time.Second, "a"), at(1))...)
		n.one(t, "changed")
	})
}
