// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package status

import (
	"context"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/util/workqueue"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"github.com/fairlead/fairlead/api/v1alpha1"
	"github.com/fairlead/fairlead/controllers/projection"
	"github.com/fairlead/fairlead/internal/compile"
)

const workers = 4

// +kubebuilder:rbac:groups=rpc.fairlead.dev,resources=rpccallpolicies/status;rpclimitpolicies/status,verbs=patch

// View is what is known of policies.
type View interface {
	CallPolicy(k compile.Key) (*v1alpha1.RPCCallPolicy, v1alpha1.PolicyStatus, bool)
	LimitPolicy(k compile.Key) (*v1alpha1.RPCLimitPolicy, v1alpha1.PolicyStatus, bool)
	Watch(kind string, f func(k compile.Key, statusOnly bool))
}

// Controller writes the status of the policies of one kind.
type Controller[T client.Object] struct {
	kind   string
	view   View
	writer *projection.Writer
	// look gives a policy as last seen, and the status that it should have.
	look func(compile.Key) (T, v1alpha1.PolicyStatus, bool)
	// copied gives a copy, and where its status is.
	copied func(T) (T, *v1alpha1.PolicyStatus)
}

// NewCall makes the controller of call policies.
func NewCall(view View, writer *projection.Writer) *Controller[*v1alpha1.RPCCallPolicy] {
	return &Controller[*v1alpha1.RPCCallPolicy]{
		kind: compile.KindRPCCallPolicy, view: view, writer: writer, look: view.CallPolicy,
		copied: func(p *v1alpha1.RPCCallPolicy) (*v1alpha1.RPCCallPolicy, *v1alpha1.PolicyStatus) {
			p = p.DeepCopy()
			return p, &p.Status
		},
	}
}

// NewLimit makes the controller of limit policies.
func NewLimit(view View, writer *projection.Writer) *Controller[*v1alpha1.RPCLimitPolicy] {
	return &Controller[*v1alpha1.RPCLimitPolicy]{
		kind: compile.KindRPCLimitPolicy, view: view, writer: writer, look: view.LimitPolicy,
		copied: func(p *v1alpha1.RPCLimitPolicy) (*v1alpha1.RPCLimitPolicy, *v1alpha1.PolicyStatus) {
			p = p.DeepCopy()
			return p, &p.Status
		},
	}
}

// Register adds the controller to a manager.
func (c *Controller[T]) Register(mgr ctrl.Manager) error {
	run, err := controller.New(strings.ToLower(c.kind)+".status", mgr, controller.Options{
		Reconciler: c, MaxConcurrentReconciles: workers, RateLimiter: projection.Backoff(),
	})
	if err != nil {
		return err
	}
	return run.Watch(source.Func(func(_ context.Context, queue workqueue.TypedRateLimitingInterface[reconcile.Request]) error {
		c.view.Watch(c.kind, func(k compile.Key, statusOnly bool) {
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
func (c *Controller[T]) due(k compile.Key, statusOnly bool) bool {
	return c.writer.May() && (!statusOnly || c.differs(k))
}

func (c *Controller[T]) differs(k compile.Key) bool {
	p, desired, found := c.look(k)
	if !found {
		return false
	}
	_, status := c.copied(p)
	_, change := projection.Policy(status, &desired, metav1.Time{})
	return change != projection.None
}

// Reconcile writes one status, if it has to be.
func (c *Controller[T]) Reconcile(ctx context.Context, request reconcile.Request) (reconcile.Result, error) {
	p, desired, found := c.look(request.NamespacedName)
	if !found {
		c.writer.Forget(c.kind, request.NamespacedName)
		return reconcile.Result{}, nil
	}
	next, status := c.copied(p)
	laid, change := projection.Policy(status, &desired, metav1.NewTime(c.writer.Now()))
	*status = laid
	return c.writer.Write(ctx, c.kind, p, next, change)
}
