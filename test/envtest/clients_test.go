// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build envtest

package envtest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/fairlead/fairlead/rpcruntime"
	"github.com/fairlead/fairlead/rpcruntime/policy"
	"github.com/fairlead/fairlead/rpcruntime/registry"
)

// book maps the addresses in slices, which the API server does not allow to be
// loopback, to where test servers listen.
type book map[string]string

func (b book) dial(ctx context.Context, address string) (net.Conn, error) {
	if listens, ok := b[address]; ok {
		address = listens
	}
	return new(net.Dialer).DialContext(ctx, "tcp", address)
}

// newRuntime gives a runtime as a user makes it, of a namespace, at the registries.
func newRuntime(t *testing.T, namespace string, addresses book, registries ...string) *rpcruntime.Runtime {
	t.Helper()
	rt, err := rpcruntime.New(rpcruntime.WithRegistry(registries...), rpcruntime.WithNamespace(namespace),
		rpcruntime.WithCacheDir(""), rpcruntime.WithDialer(addresses.dial))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if err := rt.Close(ctx); err != nil {
			t.Errorf("close the runtime: %v", err)
		}
	})
	return rt
}

// seen is what the runtime's watch has told of one service.
type seen struct {
	mu        sync.Mutex // guards what follows
	snapshots []*policy.Snapshot
	gone      []*registry.GoneError
	unknown   []*registry.NotFoundError
	trouble   []error
}

// Changed notes a snapshot.
func (s *seen) Changed(snapshot *policy.Snapshot, _ registry.Origin) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.snapshots = append(s.snapshots, snapshot)
}

// Invalid notes what is wrong with the service.
func (s *seen) Invalid(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if gone := (*registry.GoneError)(nil); errors.As(err, &gone) {
		s.gone = append(s.gone, gone)
	} else if unknown := (*registry.NotFoundError)(nil); errors.As(err, &unknown) {
		s.unknown = append(s.unknown, unknown)
	} else {
		s.trouble = append(s.trouble, err)
	}
}

// Ambient notes trouble with the registry.
func (s *seen) Ambient(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.trouble = append(s.trouble, err)
}

func (s *seen) last() *policy.Snapshot {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.snapshots) == 0 {
		return nil
	}
	return s.snapshots[len(s.snapshots)-1]
}

func (s *seen) counts() (snapshots, gone, unknown, trouble int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.snapshots), len(s.gone), len(s.unknown), len(s.trouble)
}

// bad counts all that a subscriber should not hear once it has a snapshot.
func (s *seen) bad() int {
	_, gone, unknown, trouble := s.counts()
	return gone + unknown + trouble
}

// newWatch gives a client of the registry, of a namespace.
func newWatch(t *testing.T, namespace string, registries ...string) *registry.Client {
	t.Helper()
	c := registry.New(registry.Config{Addresses: registries, Identity: registry.Identity{Namespace: namespace}})
	t.Cleanup(c.Close)
	return c
}

// watch subscribes to a service as a caller.
func watch(t *testing.T, c *registry.Client, service string) *seen {
	t.Helper()
	s := &seen{}
	t.Cleanup(c.Watch(service, policy.Caller, s))
	return s
}

// endpoints gives what a snapshot says as text: host state, sorted.
func endpoints(s *policy.Snapshot) string {
	if s == nil {
		return "no snapshot"
	}
	all := map[string]struct{}{}
	for _, e := range s.Endpoints {
		host, _, err := net.SplitHostPort(e.Addresses[0])
		if err != nil {
			host = e.Addresses[0]
		}
		all[strings.TrimPrefix(host, "10.1.")+"="+stateName(e.State)] = struct{}{}
	}
	return strings.Join(slices.Sorted(maps.Keys(all)), " ")
}

// wantEndpoints waits until a subscriber has exactly these.
func wantEndpoints(t *testing.T, s *seen, want string) {
	t.Helper()
	eventually(t, func() error {
		if got := endpoints(s.last()); got != want {
			return fmt.Errorf("endpoints %q, want %q", got, want)
		}
		return nil
	})
}

func stateName(s policy.EndpointState) string {
	switch s {
	case policy.Ready:
		return "ready"
	case policy.Draining:
		return "draining"
	case policy.Suspect:
		return "suspect"
	default:
		return fmt.Sprintf("state %d", s)
	}
}
