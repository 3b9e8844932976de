// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/go-logr/logr"
	authenticationv1 "k8s.io/api/authentication/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/fairlead/fairlead/rpcruntime/policy"
	"github.com/fairlead/fairlead/rpcruntime/registry"
)

// process measures the operator's program: twice from its start, and changes in
// between.
func (c *cluster) process(ctx context.Context, s *setup, to *report) error {
	p, err := c.launch(ctx, s.manager)
	if err != nil {
		return err
	}
	to.figure("full_sync_s", p.took.Seconds(), 10)
	err = c.changes(ctx, p, s.services, to)
	if err := errors.Join(err, p.stop()); err != nil {
		return err
	}
	if p, err = c.launch(ctx, s.manager); err != nil {
		return err
	}
	to.figure("restart_full_sync_s", p.took.Seconds(), 10)
	_, peak, err := p.memory()
	to.note("restart_peak_MiB", peak)
	return errors.Join(err, p.stop())
}

// changes subscribes to everything and measures how long changes take.
func (c *cluster) changes(ctx context.Context, p *program, services int, to *report) error {
	_, peak, err := p.memory()
	if err != nil {
		return err
	}
	to.note("full_sync_peak_MiB", peak)
	client, err := c.subscriber(ctx, p.registry)
	if err != nil {
		return err
	}
	defer client.Close()
	begin, holds := time.Now(), make([]*holder, services)
	for n := range services {
		namespace, name := place(n)
		holds[n] = &holder{news: make(chan struct{}, 1)}
		defer client.Watch(namespace+"/"+name, policy.Caller, holds[n])()
	}
	for n, h := range holds {
		if err := h.await(ctx, func(s *policy.Snapshot) bool { return len(s.Endpoints) == podsPerService }); err != nil {
			return fmt.Errorf("service %d did not come whole: %w", n, err)
		}
	}
	to.figure("subscriber_full_sync_s", (p.took + time.Since(begin)).Seconds(), 10)
	begin = time.Now()
	if err := p.quiet(ctx); err != nil {
		return err
	}
	to.note("statuses_settled_s", time.Since(begin).Seconds())

	before, err := p.delays(ctx)
	if err != nil {
		return err
	}
	var writes, arrivals []float64
	for n, h := range holds {
		wrote, arrived, err := c.change(ctx, n, h)
		if err != nil {
			return fmt.Errorf("change the slice of service %d: %w", n, err)
		}
		writes, arrivals = append(writes, wrote), append(arrivals, arrived)
	}
	after, err := p.delays(ctx)
	if err != nil {
		return err
	}
	published, err := within(before, after, services, .99)
	if err != nil {
		return err
	}
	to.figure("change_published_p99_ms", 1000*published, 5)
	half, err := within(before, after, services, .5)
	to.note("change_published_p50_ms", 1000*half)
	to.note("change_at_client_p50_ms", 1000*quantile(arrivals, .5))
	to.note("change_at_client_p99_ms", 1000*quantile(arrivals, .99))
	to.note("change_write_p50_ms", 1000*quantile(writes, .5))
	to.note("change_write_p99_ms", 1000*quantile(writes, .99))
	now, peak, failed := p.memory()
	to.figure("resident_MiB", now, 150)
	to.figure("resident_peak_MiB", peak, 150)
	return errors.Join(err, failed)
}

// change replaces one endpoint of a service, as when its Pod was, and gives the
// seconds that the write took, and those until the subscriber had it.
func (c *cluster) change(ctx context.Context, n int, h *holder) (wrote, arrived float64, err error) {
	slice := c.slices[n].DeepCopy()
	e := &slice.Endpoints[n%podsPerService]
	e.Addresses = []string{fmt.Sprintf("10.200.%d.%d", n/250, n%250+1)}
	e.TargetRef.Name, e.TargetRef.UID = e.TargetRef.Name+"-next", types.UID(fmt.Sprintf("00000000-0000-0000-0001-%012d", n))
	wanted := net.JoinHostPort(e.Addresses[0], strconv.Itoa(rpcPort))
	type answer struct {
		slice *discoveryv1.EndpointSlice
		took  time.Duration
		err   error
	}
	answered, begin := make(chan answer, 1), time.Now()
	go func() {
		next, err := c.kube.DiscoveryV1().EndpointSlices(slice.Namespace).Update(ctx, slice, metav1.UpdateOptions{})
		answered <- answer{next, time.Since(begin), err}
	}()
	err = h.await(ctx, func(s *policy.Snapshot) bool {
		return slices.ContainsFunc(s.Endpoints, func(e policy.Endpoint) bool { return e.Addresses[0] == wanted })
	})
	arrived = time.Since(begin).Seconds()
	a := <-answered
	return a.took.Seconds(), arrived, errors.Join(err, a.err)
}

// subscriber is a client of the registry as a Pod has it.
func (c *cluster) subscriber(ctx context.Context, at string) (*registry.Client, error) {
	namespace, _ := place(0)
	ref := c.slices[0].Endpoints[0].TargetRef
	seconds := int64(3600)
	token, err := c.kube.CoreV1().ServiceAccounts(namespace).CreateToken(ctx, "app", &authenticationv1.TokenRequest{
		Spec: authenticationv1.TokenRequestSpec{
			Audiences: []string{"fairlead"}, ExpirationSeconds: &seconds,
			BoundObjectRef: &authenticationv1.BoundObjectReference{Kind: "Pod", APIVersion: "v1", Name: ref.Name, UID: ref.UID},
		},
	}, metav1.CreateOptions{})
	if err != nil {
		return nil, fmt.Errorf("get a token: %w", err)
	}
	bundle, err := c.bundle(ctx, namespace)
	if err != nil {
		return nil, err
	}
	for name, content := range map[string]string{
		"namespace": namespace, "pod-uid": string(ref.UID), "pod-name": ref.Name, "address": advertised, "ca.crt": bundle,
		"token": token.Status.Token,
	} {
		if err := os.WriteFile(filepath.Join(c.dir, name), []byte(content), 0o600); err != nil {
			return nil, err
		}
	}
	here := registry.Look(func(name string) string {
		if name == "FAIRLEAD_CONFIG_DIR" {
			return c.dir
		}
		return ""
	})
	cfg := registry.Config{Identity: registry.Identity{Namespace: here.Namespace, PodUID: here.PodUID, Pod: here.Pod}}
	here.Configure(&cfg, func(ctx context.Context, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "tcp", at)
	}, logr.Discard())
	return registry.New(cfg), nil
}

// bundle gives the authorities that the operator writes for the Pods of a
// namespace.
func (c *cluster) bundle(ctx context.Context, namespace string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for {
		found, err := c.kube.CoreV1().ConfigMaps(namespace).Get(ctx, "fairlead-registry", metav1.GetOptions{})
		if err == nil && found.Data["ca.crt"] != "" {
			return found.Data["ca.crt"], nil
		}
		if late := pause(ctx, 50*time.Millisecond); late != nil {
			return "", fmt.Errorf("the registry's authorities do not come: %w", errors.Join(late, err))
		}
	}
}

// holder holds the newest snapshot of a service.
type holder struct {
	// news has room for one.
	news chan struct{}
	mu   sync.Mutex
	last *policy.Snapshot
	err  error
}

// Changed takes a snapshot.
func (h *holder) Changed(s *policy.Snapshot, _ registry.Origin) { h.set(s, nil) }

// Invalid notes that there is none.
func (h *holder) Invalid(err error) { h.set(nil, err) }

// Ambient notes trouble.
func (h *holder) Ambient(err error) { h.set(nil, err) }

func (h *holder) set(s *policy.Snapshot, err error) {
	h.mu.Lock()
	if h.err = err; s != nil {
		h.last = s
	}
	h.mu.Unlock()
	select {
	case h.news <- struct{}{}:
	default:
	}
}

// await waits for a snapshot that suits.
func (h *holder) await(ctx context.Context, suits func(*policy.Snapshot) bool) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for {
		h.mu.Lock()
		s, trouble := h.last, h.err
		h.mu.Unlock()
		if s != nil && suits(s) {
			return nil
		}
		select {
		case <-h.news:
		case <-ctx.Done():
			return errors.Join(ctx.Err(), trouble)
		}
	}
}

// bucket counts what took at most limit seconds.
type bucket struct{ limit, count float64 }

// delays reads how long the operator took to publish changes.
func (p *program) delays(ctx context.Context) ([]bucket, error) {
	samples, err := p.scrape(ctx, "fairlead_publish_delay_seconds_bucket")
	if err != nil {
		return nil, err
	}
	var all []bucket
	for _, s := range samples {
		_, rest, _ := strings.Cut(s.series, `le="`)
		text, _, _ := strings.Cut(rest, `"`)
		limit, err := strconv.ParseFloat(text, 64)
		if err != nil {
			return nil, fmt.Errorf("a bucket of %s: %w", s.series, err)
		}
		all = append(all, bucket{limit, s.value})
	}
	return all, nil
}

// within gives the smallest limit that a share of what came between two readings
// did not exceed, and fails unless as many came as were meant to.
func within(before, after []bucket, changes int, share float64) (float64, error) {
	if len(before) != len(after) || len(after) == 0 {
		return 0, errors.New("the operator does not tell how long changes take")
	}
	if n := after[len(after)-1].count - before[len(before)-1].count; n < float64(changes) {
		return 0, fmt.Errorf("the operator published %v changes of %d", n, changes)
	}
	total := after[len(after)-1].count - before[len(before)-1].count
	for i := range after {
		if after[i].count-before[i].count >= share*total {
			return after[i].limit, nil
		}
	}
	return math.Inf(1), nil
}

// quantile gives the value that a share of all does not exceed.
func quantile(all []float64, share float64) float64 {
	sorted := slices.Sorted(slices.Values(all))
	return sorted[max(0, int(math.Ceil(share*float64(len(sorted))))-1)]
}
