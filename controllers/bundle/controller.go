// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package bundle

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	applycorev1 "k8s.io/client-go/applyconfigurations/core/v1"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"

	"github.com/fairlead/fairlead/controllers/observe"
)

// What is written, and where.
const (
	// Name is the ConfigMap's in each namespace.
	Name = "fairlead-registry"
	// KeyAddress has the registry's addresses, host:port, comma-separated.
	KeyAddress = "address"
	// KeyCA has the authorities to believe, in PEM; not there without TLS.
	KeyCA = "ca.crt"
	// LabelRegistry on a namespace, "true", asks for it.
	LabelRegistry = "rpc.fairlead.dev/registry"

	labelManaged, managed = "app.kubernetes.io/managed-by", "fairlead"
	manager               = "fairlead-registry"
)

// between is the least time between two writes in one namespace.
const between = time.Second

// +kubebuilder:rbac:groups="",resources=configmaps,resourceNames=fairlead-registry,verbs=list;watch;create;patch

// Config sets up a Controller.
type Config struct {
	// Client reaches the API server.
	Client corev1client.CoreV1Interface
	// Content gives the data to write; false while it is not known yet.
	Content func() (data map[string]string, known bool)
	// May says whether this replica is the one that writes.
	May func() bool
	// Metrics is where counters are registered.
	Metrics prometheus.Registerer
	// Log gets what happens. The zero Logger discards.
	Log logr.Logger
}

// Controller writes ConfigMaps.
type Controller struct {
	cfg    Config
	writes *prometheus.CounterVec
	// wake has room for one.
	wake chan struct{}

	mu sync.Mutex // guards what follows
	// listed: the namespaces, and the ConfigMaps, were listed.
	listedNamespaces, listedMaps bool
	namespaces                   map[string]bool              // whether labelled; those that end are not here
	maps                         map[string]map[string]string // by namespace
	// holding are the objects of ours by kind and namespace.
	// Invariant: no set in it is empty.
	holding map[string]map[string]map[string]struct{}

	// notBefore is for Start's goroutine alone.
	notBefore map[string]time.Time
}

// New makes a Controller. It touches no network.
func New(cfg Config) (*Controller, error) {
	c := &Controller{
		cfg: cfg, wake: make(chan struct{}, 1), namespaces: map[string]bool{}, maps: map[string]map[string]string{},
		holding: map[string]map[string]map[string]struct{}{}, notBefore: map[string]time.Time{},
		writes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "fairlead_registry_configmap_writes_total", Help: "ConfigMaps fairlead-registry that this replica wrote, or could not write, by result.",
		}, []string{"result"}),
	}
	if err := cfg.Metrics.Register(c.writes); err != nil {
		return nil, fmt.Errorf("bundle: %w", err)
	}
	return c, nil
}

// Wake has everything looked at again: what is to be written may have changed.
func (c *Controller) Wake() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// Start follows and writes until ctx ends.
func (c *Controller) Start(ctx context.Context) error {
	var watching sync.WaitGroup
	defer watching.Wait()
	watching.Go(func() {
		observe.Run(ctx, observe.Options[*corev1.ConfigMap]{
			Client: c.cfg.Client.RESTClient(), Resource: "configmaps", Example: &corev1.ConfigMap{}, Name: Name, Log: c.cfg.Log,
		}, (*mapKeeper)(c))
	})
	// Who may write changes without a word.
	ticker := time.NewTicker(5 * time.Second)
	defer ticker.Stop()
	again := time.NewTimer(0)
	defer again.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		case <-again.C:
		case <-c.wake:
		}
		if c.cfg.May() && c.pass(ctx) {
			again.Reset(between)
		}
	}
}

// pass writes what differs; it says whether something is left to be done.
func (c *Controller) pass(ctx context.Context) (left bool) {
	content, known := c.cfg.Content()
	if !known {
		return false
	}
	for _, namespace := range c.due(content) {
		now := time.Now()
		if now.Before(c.notBefore[namespace]) {
			left = true
			continue
		}
		c.notBefore[namespace] = now.Add(between)
		err := c.write(ctx, namespace, content)
		switch {
		case ctx.Err() != nil:
			return false
		case apierrors.IsNotFound(err), apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause):
			// The namespace goes; the watch will say so.
		case err != nil:
			left = true
			c.writes.WithLabelValues("failed").Inc()
			c.cfg.Log.Error(err, "the registry's address and authorities are not written; tried again soon", "namespace", namespace)
		default:
			c.writes.WithLabelValues("written").Inc()
			c.cfg.Log.V(1).Info("wrote the registry's address and authorities", "namespace", namespace)
		}
	}
	maps.DeleteFunc(c.notBefore, func(_ string, at time.Time) bool { return time.Since(at) > between })
	return left
}

// due gives the namespaces whose ConfigMap differs, sorted.
func (c *Controller) due(content map[string]string) (due []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.listedNamespaces || !c.listedMaps {
		return nil
	}
	for namespace, labelled := range c.namespaces {
		have, there := c.maps[namespace]
		if !labelled && !c.holds(namespace) && have[labelManaged] != managed {
			continue
		}
		if !there || !fits(have, content) {
			due = append(due, namespace)
		}
	}
	slices.Sort(due)
	return due
}

// fits says whether a ConfigMap, as mapKeeper keeps it, is as it should be.
func fits(have, content map[string]string) bool {
	for _, key := range []string{KeyAddress, KeyCA} {
		a, inHave := have[key]
		b, inContent := content[key]
		if a != b || inHave != inContent {
			return false
		}
	}
	return have[labelManaged] == managed
}

func (c *Controller) write(ctx context.Context, namespace string, content map[string]string) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	apply := applycorev1.ConfigMap(Name, namespace).WithLabels(map[string]string{labelManaged: managed}).WithData(content)
	_, err := c.cfg.Client.ConfigMaps(namespace).Apply(ctx, apply, metav1.ApplyOptions{FieldManager: manager, Force: true})
	return err
}
