// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package lease

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	coordinationv1 "k8s.io/client-go/kubernetes/typed/coordination/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/leaderelection"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
)

// Config sets up an Elector.
type Config struct {
	// Client says where the API server is.
	Client *rest.Config
	// Namespace and Name are the Lease's; Identity is this replica's.
	Namespace, Name, Identity string
	// Duration is how long a Lease lasts that is not renewed, RenewDeadline how
	// long its holder tries to renew it, RetryPeriod how often.
	Duration, RenewDeadline, RetryPeriod time.Duration
	// Acquired is called when this replica has got the Lease. It must not block.
	Acquired func()
	// Metrics is where counters are registered.
	Metrics prometheus.Registerer
	// Log gets what happens. The zero Logger discards.
	Log logr.Logger
}

// Elector holds the Lease, or tries to.
type Elector struct {
	cfg     Config
	elector *leaderelection.LeaderElector
	// leads is what the elector's callbacks say.
	leads atomic.Bool
}

// +kubebuilder:rbac:groups=coordination.k8s.io,namespace=fairlead-system,resources=leases,verbs=get;create;update

// New makes an Elector. It touches no network.
func New(cfg Config) (*Elector, error) {
	orDefault := func(d *time.Duration, value time.Duration) {
		if *d <= 0 {
			*d = value
		}
	}
	orDefault(&cfg.Duration, 15*time.Second)
	orDefault(&cfg.RenewDeadline, 10*time.Second)
	orDefault(&cfg.RetryPeriod, 2*time.Second)
	// A client of its own: renewals do not queue behind statuses.
	own := rest.CopyConfig(cfg.Client)
	own.Timeout = max(cfg.RenewDeadline/2, time.Second)
	client, err := coordinationv1.NewForConfig(own)
	if err != nil {
		return nil, fmt.Errorf("lease: %w", err)
	}
	e := &Elector{cfg: cfg}
	e.elector, err = leaderelection.NewLeaderElector(leaderelection.LeaderElectionConfig{
		Lock: &resourcelock.LeaseLock{
			LeaseMeta:  metav1.ObjectMeta{Namespace: cfg.Namespace, Name: cfg.Name},
			Client:     client,
			LockConfig: resourcelock.ResourceLockConfig{Identity: cfg.Identity},
		},
		LeaseDuration: cfg.Duration, RenewDeadline: cfg.RenewDeadline, RetryPeriod: cfg.RetryPeriod,
		ReleaseOnCancel: true,
		Name:            cfg.Name,
		Callbacks: leaderelection.LeaderCallbacks{
			OnStartedLeading: e.started,
			OnStoppedLeading: e.stopped,
		},
	})
	if err != nil {
		return nil, fmt.Errorf("lease: %w", err)
	}
	held := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "fairlead_lease_held", Help: "1 while this replica holds the Lease and writes statuses; the sum over all replicas should be 1.",
	}, func() float64 {
		if e.Held() {
			return 1
		}
		return 0
	})
	if err := cfg.Metrics.Register(held); err != nil {
		return nil, fmt.Errorf("lease: %w", err)
	}
	return e, nil
}

// started is called beside the elector; ctx ends when the Lease is lost.
func (e *Elector) started(ctx context.Context) {
	if ctx.Err() != nil {
		return
	}
	e.leads.Store(true)
	e.cfg.Log.Info("got the Lease: this replica writes statuses", "identity", e.cfg.Identity)
	e.cfg.Acquired()
}

// stopped is called even if the Lease was never got.
func (e *Elector) stopped() {
	if e.leads.Swap(false) {
		e.cfg.Log.Info("lost the Lease: statuses are for another replica to write; serving goes on", "identity", e.cfg.Identity)
	}
}

// Held says whether this replica holds the Lease, as far as it can know.
func (e *Elector) Held() bool { return e.leads.Load() && e.elector.IsLeader() }

// Start tries to hold the Lease until ctx ends; then it gives it up.
func (e *Elector) Start(ctx context.Context) error {
	for ctx.Err() == nil {
		e.elector.Run(ctx) // returns when the Lease is lost
	}
	return nil
}
