// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build envtest

package envtest

import (
	"fmt"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/fairlead/fairlead/controllers"
)

// TestNeverPartial starts an operator over a thousand services, with clients
// that ask from before it listens: the first answer on each service is whole.
func TestNeverPartial(t *testing.T) {
	const services = 1000
	s := common.space(t)
	var all sync.WaitGroup
	for worker := range 8 {
		all.Go(func() {
			for n := worker; n < services; n += 8 {
				name := fmt.Sprintf("svc-%d", n)
				s.create(kubeService(name), rpcService(name), callPolicy(name, name, timeout("1234ms")),
					slice(name+"-1", name, pod(2*n)), slice(name+"-2", name, pod(2*n+1)))
			}
		})
	}
	all.Wait()
	if t.Failed() {
		t.FailNow()
	}

	address, health := freeAddress(t), freeAddress(t)
	caller := newWatch(t, s.name, address)
	var got []*seen
	for n := range services {
		got = append(got, watch(t, caller, s.full(fmt.Sprintf("svc-%d", n))))
	}
	common.run(t, func(o *controllers.Options) { o.RegistryAddress, o.HealthAddress = address, health })
	for n, one := range got {
		eventually(t, func() error {
			if one.last() == nil {
				return fmt.Errorf("nothing of service %d", n)
			}
			return nil
		})
		first := one.snapshots[0]
		if len(first.Endpoints) != 2 || first.Effective("").Timeout != 1234*time.Millisecond {
			t.Errorf("the first answer on service %d has %d endpoints and timeout %s", n, len(first.Endpoints), first.Effective("").Timeout)
		}
		if _, gone, unknown, _ := one.counts(); gone+unknown != 0 {
			t.Errorf("service %d was said not to be there", n)
		}
	}
	if code := probe(t, health, "/readyz"); code != http.StatusOK {
		t.Errorf("not ready: %d", code)
	}
}
