// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package status

import (
	"context"
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/util/workqueue"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"github.com/fairlead/fairlead/api/v1alpha1"
	"github.com/fairlead/fairlead/controllers/projection"
	"github.com/fairlead/fairlead/controllers/registry/publish"
	"github.com/fairlead/fairlead/internal/compile"
)

const (
	name    = "rpcservice.status"
	workers = 4
	// lossHeld is how long most endpoints have to be suspect to be reported.
	lossHeld = 5 * time.Second
)

// +kubebuilder:rbac:groups=rpc.fairlead.dev,resources=rpcservices/status,verbs=patch

// View is what is known of RPCServices.
type View interface {
	Service(k compile.Key) (publish.ServiceState, bool)
	Watch(kind string, f func(k compile.Key, statusOnly bool))
}

// Controller writes the status of RPCServices.
type Controller struct {
	view   View
	writer *projection.Writer
}

// New makes the controller.
func New(view View, writer *projection.Writer) *Controller {
	return &Controller{view: view, writer: writer}
}

// Register adds the controller to a manager.
func (c *Controller) Register(mgr ctrl.Manager) error {
	run, err := controller.New(name, mgr, controller.Options{
		Reconciler: c, MaxConcurrentReconciles: workers, RateLimiter: projection.Backoff(),
	})
	if err != nil {
		return err
	}
	return run.Watch(source.Func(func(_ context.Context, queue workqueue.TypedRateLimitingInterface[reconcile.Request]) error {
		c.view.Watch(compile.KindRPCService, func(k compile.Key, statusOnly bool) {
			if c.due(k, statusOnly) {
				queue.Add(reconcile.Request{NamespacedName: k})
			}
		})
		return nil
	}))
}

// due says whether an object is to be queued: not on replicas that do not write,
// and not when only its status has changed, to what it should be, as by our own
// writes.
func (c *Controller) due(k compile.Key, statusOnly bool) bool {
	return c.writer.May() && (!statusOnly || c.differs(k))
}

func (c *Controller) differs(k compile.Key) bool {
	s, found := c.view.Service(k)
	if !found {
		return false
	}
	desired, _ := desire(&s, c.writer.Now())
	_, change := projection.Service(&s.Object.Status, &desired, metav1.Time{})
	return change != projection.None
}

// Reconcile writes one status, if it has to be.
func (c *Controller) Reconcile(ctx context.Context, request reconcile.Request) (reconcile.Result, error) {
	s, found := c.view.Service(request.NamespacedName)
	if !found {
		c.writer.Forget(compile.KindRPCService, request.NamespacedName)
		return reconcile.Result{}, nil
	}
	now := c.writer.Now()
	desired, again := desire(&s, now)
	next := s.Object.DeepCopy()
	status, change := projection.Service(&s.Object.Status, &desired, metav1.NewTime(now))
	next.Status = status
	result, err := c.writer.Write(ctx, compile.KindRPCService, s.Object, next, change)
	if err != nil {
		return reconcile.Result{}, err
	}
	if again > 0 && (result.RequeueAfter == 0 || again < result.RequeueAfter) {
		result.RequeueAfter = again
	}
	return result, nil
}

// desire gives the status that an RPCService should have at a moment, and when
// time alone will change it; 0 for never.
func desire(s *publish.ServiceState, now time.Time) (status v1alpha1.RPCServiceStatus, again time.Duration) {
	held := false
	if !s.LossSince.IsZero() {
		again = max(0, s.LossSince.Add(lossHeld).Sub(now))
		held = again == 0
	}
	generation := s.Object.Generation
	conditions := slices.Concat(s.Report.Conditions, []metav1.Condition{compile.Degraded(generation, held, s.Counts)})
	if s.Honoured != nil {
		conditions = append(conditions, *s.Honoured)
	}
	summary := s.Report.Summary
	return v1alpha1.RPCServiceStatus{ObservedGeneration: generation, Conditions: conditions, Summary: &summary, Clients: s.Clients}, again
}
