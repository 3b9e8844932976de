// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package publish

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fairlead/fairlead/rpcruntime/policy"
	"github.com/fairlead/fairlead/rpcruntime/registry"
)

// TestConsumers has a service let a namespace in, out and in again.
func TestConsumers(t *testing.T) {
	bubble(t, func(t *testing.T, b *world) {
		s := b.stack("reg:1", StoreConfig{}, nil)
		sh := shape{endpoints: two(), timeout: time.Second, consumers: []string{"shop"}}
		s.publish(t, arith, 1, sh)
		s.store.SetReady()
		own := b.watch(b.client(registry.Config{Identity: registry.Identity{Namespace: "shop"}}), arith, policy.Caller)
		web := b.watch(b.client(registry.Config{}), arith, policy.Caller)
		instance := b.watch(b.client(registry.Config{}), arith, policy.Server)
		expect(t, own, "changed live", "a=0 b=0 timeout 1s")
		expect(t, web, "invalid PermissionDenied", "nothing")
		if err := web.problem(); err == nil || !strings.Contains(err.Error(), "spec.consumers") || !strings.Contains(err.Error(), "web") {
			t.Errorf("refused with %v", err)
		}
		if instance.take(); instance.snapshot() == nil {
			t.Error("an instance was refused: consumers are callers")
		}

		if got := s.service.Clients(); len(got) != 2 || got[0].Clients != 1 || got[1].Clients != 1 {
			t.Errorf("who is refused is counted: %+v", got)
		}

		// What changes meanwhile is not for it.
		time.Sleep(time.Second)
		sh.timeout = 2 * time.Second
		s.publish(t, arith, 2, sh)
		expect(t, own, "changed live", "a=0 b=0 timeout 2s")
		expect(t, web, "", "nothing")

		// It is let in, though nothing else has changed.
		time.Sleep(time.Second)
		sh.consumers = []string{"shop", "web"}
		s.publish(t, arith, 3, sh)
		expect(t, web, "changed live", "a=0 b=0 timeout 2s")
		expect(t, own, "", "")

		// It is shown out: it comes again, and is told why it gets nothing.
		time.Sleep(time.Second)
		sh.consumers, sh.timeout = []string{"shop"}, 3*time.Second
		s.publish(t, arith, 4, sh)
		expect(t, own, "changed live", "a=0 b=0 timeout 3s")
		time.Sleep(30 * time.Second)
		expect(t, own, "", "")
		synctest.Wait()
		if got := web.take(); !strings.HasSuffix(got, "invalid PermissionDenied") {
			t.Errorf("after it was shown out: %q", got)
		}
		if got := describe(web.snapshot()); got != "a=0 b=0 timeout 2s" {
			t.Errorf("it holds %q: it was told of a change that was not for it", got)
		}

		// Everybody is, and in the end the service goes.
		sh.consumers = nil
		s.publish(t, arith, 5, sh)
		expect(t, web, "changed live", "a=0 b=0 timeout 3s")
		time.Sleep(time.Second)
		s.remove(arith, 6)
		expect(t, web, "invalid NotFound", "")
	})
}

// TestConsumersOfAnUnknownService has one appear that the subscriber may not see.
func TestConsumersOfAnUnknownService(t *testing.T) {
	bubble(t, func(t *testing.T, b *world) {
		s := b.stack("reg:1", StoreConfig{}, nil)
		s.store.SetReady()
		web := b.watch(b.client(registry.Config{}), arith, policy.Caller)
		expect(t, web, "invalid NotFound", "nothing")
		s.publish(t, arith, 1, shape{endpoints: two(), timeout: time.Second, consumers: []string{"shop"}})
		time.Sleep(time.Minute)
		if got := web.take(); !strings.HasSuffix(got, "invalid PermissionDenied") || web.snapshot() != nil {
			t.Errorf("%q, and it holds %s", got, describe(web.snapshot()))
		}
		s.publish(t, arith, 2, shape{endpoints: two(), timeout: time.Second})
		expect(t, web, "changed live", "a=0 b=0 timeout 1s")
	})
}
