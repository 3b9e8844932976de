// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package standalone

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairlead/fairlead/api/v1alpha1"
	"github.com/fairlead/fairlead/internal/compile"
	"github.com/fairlead/fairlead/internal/manifest"
	"github.com/fairlead/fairlead/rpcruntime/policy"
	"github.com/fairlead/fairlead/rpcruntime/registry"
	"github.com/fairlead/fairlead/rpcruntime/status"
)

// lines is a place for a journal that tests may read meanwhile.
type lines struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// harness is a plane in a synctest bubble, with its state in a folder.
type harness struct {
	*plane
	t    *testing.T
	path string
	log  *lines
}

func startPlane(t *testing.T, path string) *harness {
	t.Helper()
	dir, err := openStateDir(path)
	if err != nil {
		t.Fatal(err)
	}
	saved, damaged, err := dir.load()
	if err != nil || damaged != nil {
		t.Fatal(err, damaged)
	}
	h := &harness{t: t, path: path, log: new(lines)}
	h.plane = newPlane(saved, dir, &journal{w: h.log, now: time.Now}, time.Now)
	go h.run()
	return h
}

func (h *harness) stop() {
	h.close()
	h.dir.close()
}

func rpcService(name string, source v1alpha1.SourceType) *v1alpha1.RPCService {
	s := &v1alpha1.RPCService{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, Generation: 1}}
	s.Spec.Source = v1alpha1.ServiceSource{Type: source}
	if source == v1alpha1.SourceService {
		s.Spec.Source.Service = &v1alpha1.ServiceReference{Name: name}
	}
	return s
}

// read is a reading of files: the services, and what is wrong.
func (h *harness) read(services []*v1alpha1.RPCService, wrong ...string) {
	h.t.Helper()
	var findings []manifest.Finding
	for _, w := range wrong {
		findings = append(findings, manifest.Finding{File: "f.yaml", Line: 1, Message: w})
	}
	h.do(func(now time.Time) { h.setFiles(now, manifest.Set{RPCServices: services}, findings) })
}

// endpoints says what the store has of default/arith, as text.
func (h *harness) endpoints() string {
	text := "nothing"
	h.do(func(time.Time) {
		out := compile.Service(h.objects.Input(compile.Key{Namespace: "default", Name: "arith"}))
		if _, ok := h.store.Digest("default/arith", policy.Caller, "default"); !ok {
			return
		}
		text = ""
		for _, e := range out.Endpoints {
			text += fmt.Sprintf("%s %d; ", e.ID, e.State)
		}
		if got, _ := h.store.Digest("default/arith", policy.Caller, "default"); got != digestFor(&out, policy.Caller) {
			text += "not published yet; "
		}
	})
	return text
}

func (h *harness) register(holder uint64, address string) error {
	lease, err := registrar{h.plane}.Register(holder, registry.RegisterRequest{Service: "default/arith", Address: address})
	if err == nil && lease != leaseTime {
		h.t.Errorf("a lease of %s", lease)
	}
	return err
}

func (h *harness) want(endpoints string) {
	h.t.Helper()
	time.Sleep(100 * time.Millisecond) // what was held back is out
	synctest.Wait()
	if got := h.endpoints(); got != endpoints {
		h.t.Errorf("published %q, want %q\n%s", got, endpoints, h.log)
	}
}

func TestInstancesComeAndGo(t *testing.T) {
	path := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		h := startPlane(t, path)
		defer h.stop()
		h.read([]*v1alpha1.RPCService{rpcService("arith", v1alpha1.SourceRegistered)})
		h.want("")
		for holder := range uint64(3) {
			if err := h.register(holder+1, fmt.Sprintf("127.0.0.1:%d", holder+1)); err != nil {
				t.Fatal(err)
			}
		}
		h.want("127.0.0.1:1 0; 127.0.0.1:2 0; 127.0.0.1:3 0; ")
		registrar{h.plane}.Lost(1)
		registrar{h.plane}.Leave(2, "default/arith", "127.0.0.1:2")
		h.want("127.0.0.1:1 2; 127.0.0.1:3 0; ")
		time.Sleep(10 * time.Second)
		if err := h.register(3, "127.0.0.1:3"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(6 * time.Second)
		h.want("127.0.0.1:3 0; ")
		time.Sleep(10 * time.Second)
		h.want("")
	})
}

func TestWhoMayRegister(t *testing.T) {
	path := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		h := startPlane(t, path)
		defer h.stop()
		if code := status.CodeOf(h.register(1, "127.0.0.1:1")); code != status.Unavailable {
			t.Errorf("before the files were read: %s", code)
		}
		h.read([]*v1alpha1.RPCService{rpcService("other", v1alpha1.SourceRegistered)})
		if code := status.CodeOf(h.register(1, "127.0.0.1:1")); code != status.NotFound {
			t.Errorf("a service that is not there: %s", code)
		}
		h.read([]*v1alpha1.RPCService{rpcService("arith", v1alpha1.SourceService)})
		if code := status.CodeOf(h.register(1, "127.0.0.1:1")); code != status.FailedPrecondition {
			t.Errorf("a service that takes its endpoints from a Service: %s", code)
		}
		h.read([]*v1alpha1.RPCService{rpcService("arith", v1alpha1.SourceRegistered)})
		if code := status.CodeOf(h.register(1, "127.0.0.1:0")); code != status.InvalidArgument {
			t.Errorf("port 0: %s", code)
		}
		if err := h.register(1, "127.0.0.1:1"); err != nil {
			t.Error(err)
		}
	})
}

func TestRestartKeepsLeasesForOneLeaseTime(t *testing.T) {
	path := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		services := []*v1alpha1.RPCService{rpcService("arith", v1alpha1.SourceRegistered)}
		h := startPlane(t, path)
		h.read(services)
		for holder := range uint64(3) {
			if err := h.register(holder+1, fmt.Sprintf("127.0.0.1:%d", holder+1)); err != nil {
				t.Fatal(err)
			}
		}
		registrar{h.plane}.Lost(3)
		before, epoch := h.watermark(), h.epoch
		h.stop()

		time.Sleep(time.Hour) // away for longer than any lease
		h = startPlane(t, path)
		defer h.stop()
		h.read(services, "broken")
		time.Sleep(time.Hour) // nobody can renew yet, so no lease runs
		h.read(services)
		h.want("127.0.0.1:1 0; 127.0.0.1:2 0; 127.0.0.1:3 2; ")
		if h.epoch != epoch {
			t.Errorf("epoch %q, was %q", h.epoch, epoch)
		}
		if now := h.watermark(); now.Get(compile.KindInstance).Seen <= before.Get(compile.KindInstance).Seen {
			t.Errorf("seen %v after the restart, %v before", now, before)
		}
		time.Sleep(10 * time.Second)
		if err := h.register(1, "127.0.0.1:2"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(6 * time.Second)
		h.want("127.0.0.1:2 0; ")
	})
}

func TestNothingIsPublishedThatIsNotSaved(t *testing.T) {
	path := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		h := startPlane(t, path)
		defer h.stop()
		h.read([]*v1alpha1.RPCService{rpcService("arith", v1alpha1.SourceRegistered)})
		h.want("")
		away := path + ".away"
		if err := os.Rename(path, away); err != nil {
			t.Fatal(err)
		}
		seen := h.watermark()
		if code := status.CodeOf(h.register(1, "127.0.0.1:1")); code != status.Unavailable {
			t.Errorf("registered with %s, though it could not be saved", code)
		}
		h.want("127.0.0.1:1 0; not published yet; ")
		if now := h.watermark(); now.Get(compile.KindInstance) != seen.Get(compile.KindInstance) {
			t.Errorf("seen %v, though the change could not be saved", now)
		}
		if n := strings.Count(h.log.String(), "problem: "); n != 1 {
			t.Errorf("told %d times:\n%s", n, h.log)
		}
		if err := os.Rename(away, path); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * retryAfter)
		h.want("127.0.0.1:1 0; ")
	})
}

func TestFilesThatAreWrongAtTheStartHoldEverythingBack(t *testing.T) {
	path := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		h := startPlane(t, path)
		defer h.stop()
		services := []*v1alpha1.RPCService{rpcService("arith", v1alpha1.SourceRegistered)}
		h.read(services, "broken")
		if h.store.Ready() {
			t.Error("half of the files are served")
		}
		h.read(services)
		if !h.store.Ready() {
			t.Error("good files are not served")
		}
		h.read(services, "broken") // as Watch does: the last good objects, and why
		h.want("")
		h.read(nil)
		h.want("nothing")
		if got := h.log.String(); !strings.Contains(got, "refused: f.yaml:1: broken") || !strings.Contains(got, "default/arith: gone") {
			t.Errorf("told:\n%s", got)
		}
	})
}

func TestAnEmptyFolderIsServed(t *testing.T) {
	path := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		h := startPlane(t, path)
		defer h.stop()
		h.read(nil)
		if !h.store.Ready() {
			t.Error("not ready")
		}
	})
}

func TestSelf(t *testing.T) {
	path := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		h := startPlane(t, path)
		h.read([]*v1alpha1.RPCService{rpcService("arith", v1alpha1.SourceRegistered)})
		_, err := registrar{h.plane}.Register(1, registry.RegisterRequest{Service: "default/arith", Address: "127.0.0.1:1", Zone: "a"})
		if err != nil {
			t.Fatal(err)
		}
		got := h.selfOf(registry.Identity{Namespace: "shop", Addresses: []string{"127.0.0.1:1"}}, nil)
		want := registry.Self{Namespace: "shop", Zone: "a", Serves: []registry.Serving{{Service: "default/arith", Port: "1"}}}
		if !got.Equal(want) {
			t.Errorf("got %+v, want %+v", got, want)
		}
		h.stop()
		if got, want := h.selfOf(registry.Identity{Namespace: "shop"}, nil), (registry.Self{Namespace: "shop"}); !got.Equal(want) {
			t.Errorf("after the end got %+v, want %+v", got, want)
		}
	})
}
