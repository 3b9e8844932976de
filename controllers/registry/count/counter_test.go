// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package count

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/fairlead/fairlead/internal/compile"
	"github.com/fairlead/fairlead/internal/publish"
	"github.com/fairlead/fairlead/rpcruntime/policy"
)

const cart = "shop/cart"

// now is what is served.
var now = policy.Digest{1} // constant

func ack(namespace string, digest policy.Digest, clients int) publish.AckCount {
	return publish.AckCount{Service: cart, Role: policy.Caller, Namespace: namespace, Digest: digest, Features: "retry,timeout", Version: "v1", Clients: clients}
}

// room has replicas at addresses, and what the counter told.
type room struct {
	mu      sync.Mutex
	peers   []string
	answers map[string]*publish.SummaryReply // no answer: it does not come
	leads   bool
	told    []compile.Census
	kept    []string
	all     []publish.Totals // what those were told who were asked
}

func (r *room) set(f func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	f()
}

func (r *room) ask(ctx context.Context, address string, all publish.Totals) (*publish.SummaryReply, error) {
	r.mu.Lock()
	reply := r.answers[address]
	r.all = append(r.all, all)
	r.mu.Unlock()
	if reply == nil {
		<-ctx.Done()
		return nil, errors.New("no answer")
	}
	return reply, nil
}

// last gives what was told last, in short.
func (r *room) last() string {
	synctest.Wait()
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.told) == 0 {
		return "nothing"
	}
	c := r.told[len(r.told)-1]
	text := fmt.Sprintf("counted %v complete %v", c.Counted, c.Complete)
	for _, clients := range c.Of[compile.Key{Namespace: "shop", Name: "cart"}] {
		text += fmt.Sprintf(", %s %d current %v", clients.Namespace, clients.Number, clients.Current)
	}
	return text
}

func play(t *testing.T, script func(t *testing.T, r *room, metrics *prometheus.Registry)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		r, metrics := &room{answers: map[string]*publish.SummaryReply{}}, prometheus.NewRegistry()
		c, err := New(Config{
			Replica: "one", Local: func() []publish.AckCount { return []publish.AckCount{ack("web", now, 2)} },
			Digest: func(service string, _ policy.Role, _ string) (policy.Digest, bool) { return now, service == cart },
			Peers:  func() (peers []string) { r.set(func() { peers = r.peers }); return peers },
			Ask:    r.ask, Keep: func(addresses []string) { r.set(func() { r.kept = addresses }) },
			May:     func() (leads bool) { r.set(func() { leads = r.leads }); return leads },
			Tell:    func(census compile.Census) { r.set(func() { r.told = append(r.told, census) }) },
			Metrics: metrics,
		})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- c.Start(ctx) }()
		script(t, r, metrics)
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

func TestOneWhoDoesNotWriteDoesNotCount(t *testing.T) {
	play(t, func(t *testing.T, r *room, _ *prometheus.Registry) {
		time.Sleep(time.Minute)
		if got := r.last(); got != "nothing" {
			t.Errorf("told %s", got)
		}
		r.set(func() { r.leads = true })
		time.Sleep(3 * time.Second)
		// Not even this one is found: whoever names the Service names the wrong one.
		if got, want := r.last(), "counted true complete false, web 2 current true"; got != want {
			t.Errorf("told %s, want %s", got, want)
		}
		r.set(func() {
			r.peers, r.answers["one:1"] = []string{"one:1"}, &publish.SummaryReply{Replica: "one", Counts: []publish.AckCount{ack("web", now, 2)}}
		})
		time.Sleep(3 * time.Second)
		if got, want := r.last(), "counted true complete true, web 2 current true"; got != want {
			t.Errorf("told %s, want %s", got, want)
		}
		r.set(func() { r.leads = false })
		time.Sleep(3 * time.Second)
		if got, want := r.last(), "counted false complete false"; got != want {
			t.Errorf("told %s, want %s", got, want)
		}
		before := 0
		r.set(func() { before = len(r.told) })
		time.Sleep(time.Minute)
		r.set(func() {
			if len(r.told) != before {
				t.Error("it goes on telling that it knows nothing")
			}
		})
	})
}

// TestReplicasAreAddedUp has two others, one of them at two addresses, and this
// one at one.
func TestReplicasAreAddedUp(t *testing.T) {
	play(t, func(t *testing.T, r *room, metrics *prometheus.Registry) {
		two := &publish.SummaryReply{Replica: "two", Counts: []publish.AckCount{ack("web", now, 3), ack("web", policy.Digest{9}, 1), ack("app", now, 4)}}
		r.set(func() {
			r.leads, r.peers = true, []string{"one:1", "two:1", "two:2", "three:1"}
			r.answers["one:1"] = &publish.SummaryReply{Replica: "one", Counts: []publish.AckCount{ack("web", now, 2)}}
			r.answers["two:1"], r.answers["two:2"] = two, two
			r.answers["three:1"] = &publish.SummaryReply{Replica: "three"}
		})
		time.Sleep(3 * time.Second)
		whole := "counted true complete true, app 4 current true, web 1 current false, web 5 current true"
		if got := r.last(); got != whole {
			t.Errorf("told %s, want %s", got, whole)
		}
		r.set(func() {
			if !slices.Equal(r.kept, r.peers) {
				t.Errorf("kept %v", r.kept)
			}
		})

		// One does not answer: the number is not known, and what there is stays.
		r.set(func() { delete(r.answers, "three:1") })
		time.Sleep(10 * time.Second)
		if got, want := r.last(), "counted true complete false, app 4 current true, web 1 current false, web 5 current true"; got != want {
			t.Errorf("told %s, want %s", got, want)
		}
		if got := gauge(t, metrics, "fairlead_replicas_unreachable"); got != 1 {
			t.Errorf("%v replicas are unreachable, want 1", got)
		}

		// It has gone for good.
		r.set(func() { r.peers = r.peers[:3] })
		time.Sleep(10 * time.Second)
		if got := r.last(); got != whole {
			t.Errorf("told %s, want %s", got, whole)
		}
		if got := gauge(t, metrics, "fairlead_replicas_unreachable"); got != 0 {
			t.Errorf("%v replicas are unreachable, want 0", got)
		}
	})
}

// TestTotalsAreTold has two replicas, and tells them what both have in the round
// after the one in which they said so.
func TestTotalsAreTold(t *testing.T) {
	play(t, func(t *testing.T, r *room, _ *prometheus.Registry) {
		few, many := 3, 9
		step := func(what string, want publish.Totals, f func()) {
			t.Helper()
			r.set(f)
			time.Sleep(10 * time.Second)
			synctest.Wait()
			r.set(func() {
				if got := r.all[len(r.all)-1]; got != want {
					t.Errorf("%s: told %+v, want %+v", what, got, want)
				}
			})
		}
		step("two", publish.Totals{Clients: 12, Replicas: 2}, func() {
			r.leads, r.peers = true, []string{"one:1", "two:1", "two:2"}
			r.answers["one:1"] = &publish.SummaryReply{Replica: "one", Clients: &few}
			r.answers["two:1"] = &publish.SummaryReply{Replica: "two", Clients: &many}
			r.answers["two:2"] = r.answers["two:1"]
		})
		step("one that does not say how many", publish.Totals{}, func() {
			r.answers["two:1"] = &publish.SummaryReply{Replica: "two"}
			r.answers["two:2"] = r.answers["two:1"]
		})
		step("both again", publish.Totals{Clients: 12, Replicas: 2}, func() {
			r.answers["two:1"] = &publish.SummaryReply{Replica: "two", Clients: &many}
			r.answers["two:2"] = r.answers["two:1"]
		})
		step("without the Lease", publish.Totals{Clients: 12, Replicas: 2}, func() { r.leads = false })
		step("with it again", publish.Totals{Clients: 12, Replicas: 2}, func() { r.leads, r.all = true, nil })
		r.set(func() {
			if r.all[0].Replicas != 0 {
				t.Errorf("told %+v of the time before it lost the Lease", r.all[0])
			}
		})
		step("one that does not answer", publish.Totals{}, func() { r.peers = append(r.peers, "three:1") })
	})
}

// TestReplicasAreBounded has more addresses than anybody has replicas.
func TestReplicasAreBounded(t *testing.T) {
	play(t, func(t *testing.T, r *room, metrics *prometheus.Registry) {
		r.set(func() {
			r.leads = true
			for i := range maxReplicas + 10 {
				address := fmt.Sprintf("one:%02d", i)
				r.peers, r.answers[address] = append(r.peers, address), &publish.SummaryReply{Replica: "one"}
			}
		})
		time.Sleep(3 * time.Second)
		if got, want := r.last(), "counted true complete false"; got != want {
			t.Errorf("told %s, want %s", got, want)
		}
		if got := gauge(t, metrics, "fairlead_replicas_unreachable"); got != 10 {
			t.Errorf("%v replicas are unreachable, want 10", got)
		}
	})
}

func gauge(t *testing.T, from prometheus.Gatherer, name string) float64 {
	t.Helper()
	families, err := from.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == name {
			return f.GetMetric()[0].GetGauge().GetValue()
		}
	}
	t.Fatalf("there is no metric %s", name)
	return 0
}
