// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package registry

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead/fairlead/controllers/registry/publish"
	"github.com/fairlead/fairlead/controllers/registry/serve"
	store "github.com/fairlead/fairlead/internal/publish"
)

// Epoch says which history of the API server revisions belong to.
type Epoch struct {
	// Live reads from the API server.
	Live client.Reader
	// Number is raised by an administrator after etcd was restored: revisions
	// start again from an earlier one then.
	Number uint64
}

// +kubebuilder:rbac:groups="",resources=namespaces,resourceNames=kube-system,verbs=get

// Read gives the epoch: the UID of the namespace kube-system, which a cluster
// keeps for life, and the number.
func (e Epoch) Read(ctx context.Context) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	namespace := metav1.PartialObjectMetadata{}
	namespace.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("Namespace"))
	if err := e.Live.Get(ctx, client.ObjectKey{Name: metav1.NamespaceSystem}, &namespace); err != nil {
		return "", fmt.Errorf("read the namespace %s, whose UID names the cluster: %w", metav1.NamespaceSystem, err)
	}
	return fmt.Sprintf("%s/%d", namespace.UID, e.Number), nil
}

// Controller runs the registry.
type Controller struct {
	Epoch     Epoch
	Publisher *publish.Controller
	Endpoint  *serve.Endpoint
	Log       logr.Logger
}

// Start runs the registry until ctx ends; connections are drained then.
func (c *Controller) Start(ctx context.Context) error {
	epoch, ok := c.epoch(ctx)
	if !ok {
		return nil
	}
	s := store.NewStore(store.StoreConfig{Epoch: epoch, Seen: c.Publisher.Seen, Log: c.Log})
	defer s.Close()
	var publishing sync.WaitGroup
	defer publishing.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	publishing.Go(func() { c.Publisher.Run(ctx, s) })
	return c.Endpoint.Serve(ctx, s, c.Publisher.Self)
}

// epoch reads the epoch, however often it takes; false if ctx ends.
func (c *Controller) epoch(ctx context.Context) (string, bool) {
	for wait := 250 * time.Millisecond; ; wait = min(2*wait, 10*time.Second) {
		epoch, err := c.Epoch.Read(ctx)
		if err == nil {
			return epoch, true
		}
		if ctx.Err() == nil {
			c.Log.Error(err, "nothing can be served yet", "retryIn", wait.String())
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return "", false
		}
	}
}
