// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package publish

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"math/big"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-logr/logr"

	"github.com/fairlead/fairlead/rpcruntime/policy"
	"github.com/fairlead/fairlead/rpcruntime/registry"
	"github.com/fairlead/fairlead/rpcruntime/status"
)

// passes are tokens that a test knows, and who has them.
type passes map[string]*Principal

func (p passes) authenticate(_ context.Context, token string, declared registry.Identity) (*Principal, error) {
	who := p[token]
	if who == nil || declared.Namespace != "" && declared.Namespace != who.Namespace {
		return nil, errors.New("unknown")
	}
	return who, nil
}

// holderOf is a client's source of tokens.
type holderOf struct{ token atomic.Pointer[string] }

func (h *holderOf) set(token string) { h.token.Store(&token) }

func (h *holderOf) get(context.Context) (string, error) { return *h.token.Load(), nil }

// guarded makes a registry that asks for tokens.
func (b *world) guarded(known passes) *stack {
	s := b.ready()
	b.net.secure = true
	s.service.cfg.Authenticate = known.authenticate
	return s
}

func TestProofCounts(t *testing.T) {
	bubble(t, func(t *testing.T, b *world) {
		s := b.guarded(passes{"good": {Namespace: "web", ServiceAccount: "sa", Pod: "p", PodUID: "u"}})
		source := &holderOf{}
		source.set("bad")
		c := b.client(registry.Config{Token: source.get})
		r := b.watch(c, arith, policy.Caller)
		if err := r.problem(); status.CodeOf(err) != status.Unauthenticated || r.snapshot() != nil {
			t.Fatalf("without a proof: %v", err)
		}
		if s.service.Connections() != 0 {
			t.Error("who has proven nothing counts as a client")
		}
		source.set("good")
		time.Sleep(10 * time.Second)
		synctest.Wait()
		self, _ := c.Self()
		if r.snapshot() == nil || self.ServiceAccount != "sa" || self.Pod != "p" || self.Namespace != "web" {
			t.Errorf("with a proof: self %+v", self)
		}
		p, proven := s.service.Principal(b.net.last("reg:1"))
		if !proven || p.PodUID != "u" {
			t.Errorf("principal %+v", p)
		}
	})
}

func TestCallsNeedAProof(t *testing.T) {
	bubble(t, func(t *testing.T, b *world) {
		s := b.guarded(passes{"good": {Namespace: "web"}, "other": {Namespace: "shop"}})
		s.service.cfg.Registrar = nobody{}
		nc, err := b.net.dial(t.Context(), "reg:1") // by hand: a client drops what is refused
		if err != nil {
			t.Fatal(err)
		}
		defer nc.Close()
		conn := b.net.last("reg:1")
		register := &registry.RegisterRequest{Service: arith, Address: "10.0.0.1:80"}
		if _, err := s.service.Register(conn, register); status.CodeOf(err) != status.Unauthenticated {
			t.Errorf("registered: %v", err)
		}
		renew := func(token string) error {
			_, err := s.service.Renew(t.Context(), conn, &registry.RenewRequest{Token: token})
			return err
		}
		if err := renew("bad"); status.CodeOf(err) != status.Unauthenticated {
			t.Errorf("renewed: %v", err)
		}
		if err := renew("good"); err != nil {
			t.Fatal(err)
		}
		if _, err := s.service.Register(conn, register); err != nil {
			t.Errorf("not registered: %v", err)
		}
		if err := renew("other"); status.CodeOf(err) != status.PermissionDenied {
			t.Errorf("the connection is another's now: %v", err)
		}
	})
}

type nobody struct{}

func (nobody) Register(uint64, registry.RegisterRequest) (time.Duration, error) {
	return time.Second, nil
}
func (nobody) Leave(uint64, string, string) {}
func (nobody) Lost(uint64)                  {}

func TestProofRunsOut(t *testing.T) {
	bubble(t, func(t *testing.T, b *world) {
		begin := time.Now()
		known := passes{
			"first":  {Namespace: "web", PodUID: "u", Expires: begin.Add(time.Hour)},
			"second": {Namespace: "web", PodUID: "u", Expires: begin.Add(2 * time.Hour)},
		}
		s := b.guarded(known)
		source := &holderOf{}
		source.set("first")
		r := b.watch(b.client(registry.Config{Token: source.get}), arith, policy.Caller)
		conn := b.net.last("reg:1")
		time.Sleep(50 * time.Minute)
		source.set("second") // as the kubelet does, well before the end
		time.Sleep(time.Hour)
		synctest.Wait()
		if b.net.last("reg:1") != conn || r.problem() != nil {
			t.Errorf("a renewed connection has ended: %v", r.problem())
		}
		delete(known, "first")
		delete(known, "second")
		time.Sleep(10*time.Minute + drainProof + 2*time.Second)
		synctest.Wait()
		select {
		case <-conn.Done():
		default:
			t.Error("the connection outlives its proof")
		}
		if status.CodeOf(r.problem()) != status.Unauthenticated || s.service.Connections() != 0 {
			t.Errorf("problem %v, %d connections", r.problem(), s.service.Connections())
		}
		if r.snapshot() == nil {
			t.Error("what was known is lost")
		}
	})
}

// TestProofThatEndsEarlier renews with a proof that ends, where none did before.
func TestProofThatEndsEarlier(t *testing.T) {
	bubble(t, func(t *testing.T, b *world) {
		s := b.guarded(passes{"forever": {Namespace: "web"}, "hour": {Namespace: "web", Expires: time.Now().Add(time.Hour)}})
		source := &holderOf{}
		source.set("forever")
		b.watch(b.client(registry.Config{Token: source.get}), arith, policy.Caller)
		conn := b.net.last("reg:1")
		if _, err := s.service.Renew(t.Context(), conn, &registry.RenewRequest{Token: "hour"}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Hour + drainProof + 2*time.Second)
		synctest.Wait()
		select {
		case <-conn.Done():
		default:
			t.Error("the connection outlives its proof")
		}
	})
}

// TestWhatIsProvenCounts has bearers that declare nothing, and too much.
func TestWhatIsProvenCounts(t *testing.T) {
	p := &Principal{Namespace: "web", Pod: "p", PodUID: "u"}
	got := p.as(registry.Identity{Namespace: "shop", PodUID: "x", Pod: "y", App: "app"})
	if got.Namespace != "web" || got.PodUID != "u" || got.Pod != "p" || got.App != "app" {
		t.Errorf("%+v", got)
	}
	if got := p.as(registry.Identity{}); got.Namespace != "web" {
		t.Errorf("%+v", got)
	}
}

func TestPodIsGone(t *testing.T) {
	bubble(t, func(t *testing.T, b *world) {
		known := passes{"a": {Namespace: "web", PodUID: "a"}, "b": {Namespace: "web", PodUID: "b"}}
		s := b.guarded(known)
		for _, token := range []string{"a", "b"} {
			source := &holderOf{}
			source.set(token)
			b.watch(b.client(registry.Config{Token: source.get}), arith, policy.Caller)
		}
		delete(known, "a")
		s.service.DrainPod("a")
		s.service.DrainPod("c")
		time.Sleep(drainProof)
		synctest.Wait()
		if n := s.service.Connections(); n != 1 {
			t.Errorf("%d connections", n)
		}
	})
}

// bundleOf makes a bundle of one authority.
func bundleOf(t *testing.T) []byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

func TestTrustGoesToWhoTakesIt(t *testing.T) {
	old, next := bundleOf(t), bundleOf(t)
	file := filepath.Join(t.TempDir(), "ca.crt")
	if err := os.WriteFile(file, old, 0o600); err != nil {
		t.Fatal(err)
	}
	bubble(t, func(t *testing.T, b *world) {
		s := b.ready()
		b.net.secure = true
		if err := s.service.SetTrust(old); err != nil {
			t.Fatal(err)
		}
		trust := registry.NewTrust(file, "", logr.Discard())
		b.watch(b.client(registry.Config{Trust: trust}), arith, policy.Caller)
		b.watch(b.client(registry.Config{}), arith, policy.Caller)
		if have, lack := s.service.TrustHeld(old); have != 1 || lack != 0 {
			t.Errorf("%d have it, %d lack it", have, lack)
		}
		if have, lack := s.service.TrustHeld(next); have != 0 || lack != 1 {
			t.Errorf("of the next: %d have it, %d lack it", have, lack)
		}
		if err := s.service.SetTrust(next); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Second) // acks may take that long
		synctest.Wait()
		if have, lack := s.service.TrustHeld(next); have != 1 || lack != 0 || trust.Digest() != registry.BundleDigest(next) {
			t.Errorf("after it was sent: %d have it, %d lack it", have, lack)
		}
		new(subscriber).offer(s.service.trust.Load()) // takes none, and is not woken: it has no connection
		// One that comes later with an old file is told at once.
		late := registry.NewTrust(file, "", logr.Discard())
		b.watch(b.client(registry.Config{Trust: late}), arith, policy.Caller)
		if late.Digest() != registry.BundleDigest(next) {
			t.Error("one that came later was not told")
		}
	})
}
