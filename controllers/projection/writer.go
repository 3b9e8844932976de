// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package projection

import (
	"context"
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
)

const (
	// writeTimeout bounds one write. It is shorter than the time between the
	// last renewal of a Lease that counts and its end.
	writeTimeout = 4 * time.Second
	// conflictWait is how long to wait for the event that tells what was written
	// meanwhile.
	conflictWait = 200 * time.Millisecond
)

// Config sets up a Writer.
type Config struct {
	// Client writes.
	Client client.StatusClient
	// May says whether this replica writes statuses.
	May func() bool
	// Metrics is where counters are registered.
	Metrics prometheus.Registerer
	// Now is the clock; nil means time.Now.
	Now func() time.Time
}

// Writer writes statuses.
type Writer struct {
	cfg    Config
	pace   *Pace
	writes *prometheus.CounterVec
}

// NewWriter makes the Writer of a process; all kinds share its pace.
func NewWriter(cfg Config) (*Writer, error) {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	w := &Writer{cfg: cfg, pace: NewPace(), writes: prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "fairlead_status_writes_total", Help: "Statuses written, by kind and by what became of the write.",
	}, []string{"kind", "result"})}
	if err := cfg.Metrics.Register(w.writes); err != nil {
		return nil, fmt.Errorf("status: %w", err)
	}
	return w, nil
}

// Now is the writer's clock.
func (w *Writer) Now() time.Time { return w.cfg.Now() }

// May says whether this replica writes statuses.
func (w *Writer) May() bool { return w.cfg.May() }

// Forget drops what is known of an object that has gone.
func (w *Writer) Forget(kind string, key types.NamespacedName) { w.pace.forget(item{kind, key}) }

// Write brings the status of observed to that of next, which is a copy of it
// with another status. The result says when to look again.
func (w *Writer) Write(ctx context.Context, kind string, observed, next client.Object, change Change) (reconcile.Result, error) {
	of, now := item{kind, client.ObjectKeyFromObject(observed)}, w.cfg.Now()
	if change == None || !w.cfg.May() {
		return reconcile.Result{}, nil
	}
	if change == Numbers {
		if wait := w.pace.numbers(of, now); wait > 0 {
			return reconcile.Result{RequeueAfter: wait}, nil
		}
	}
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	patch := client.MergeFromWithOptions(observed, client.MergeFromWithOptimisticLock{})
	err := w.cfg.Client.Status().Patch(ctx, next, patch)
	switch {
	case err == nil:
		if change == Numbers {
			w.pace.wrote(of, now)
		}
		w.writes.WithLabelValues(kind, "written").Inc()
		return reconcile.Result{}, nil
	case apierrors.IsNotFound(err):
		w.pace.forget(of)
		w.writes.WithLabelValues(kind, "gone").Inc()
		return reconcile.Result{}, nil
	case apierrors.IsConflict(err):
		w.writes.WithLabelValues(kind, "conflict").Inc()
		return reconcile.Result{RequeueAfter: conflictWait}, nil
	default:
		w.writes.WithLabelValues(kind, "failed").Inc()
		return reconcile.Result{}, fmt.Errorf("write the status of %s %s: %w", kind, of.key, err)
	}
}

// Backoff is how writes that failed are tried again.
func Backoff() workqueue.TypedRateLimiter[reconcile.Request] {
	return workqueue.NewTypedItemExponentialFailureRateLimiter[reconcile.Request](100*time.Millisecond, 30*time.Second)
}
