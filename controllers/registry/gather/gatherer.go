// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package gather

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/client/apiutil"
)

// Config sets up a Gatherer.
type Config struct {
	// Client says where the API server is, HTTP how it is reached.
	Client *rest.Config
	HTTP   *http.Client
	// Scheme has all kinds that are watched.
	Scheme *runtime.Scheme
	// Emit gets every event.
	Emit func(Event)
	// Metrics is where counters are registered.
	Metrics prometheus.Registerer
	// Log gets what fails. The zero Logger discards.
	Log logr.Logger
}

// Gatherer watches all kinds.
type Gatherer struct {
	cfg      Config
	sources  []source
	failures *prometheus.CounterVec
}

type source struct {
	kind
	watch *toolscache.ListWatch
}

// New makes a Gatherer. It touches no network.
func New(cfg Config) (*Gatherer, error) {
	g := &Gatherer{cfg: cfg, failures: prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "fairlead_gather_failures_total",
		Help: "Lists and watches of a kind that failed and are tried again; meanwhile what is known of the kind stays.",
	}, []string{"kind"})}
	if err := cfg.Metrics.Register(g.failures); err != nil {
		return nil, fmt.Errorf("gather: %w", err)
	}
	codecs := serializer.NewCodecFactory(cfg.Scheme)
	for _, k := range kinds() {
		lw, err := listWatch(&cfg, k, codecs)
		if err != nil {
			return nil, fmt.Errorf("gather %s: %w", k.name, err)
		}
		g.failures.WithLabelValues(k.name)
		g.sources = append(g.sources, source{kind: k, watch: g.counted(k.name, lw)})
	}
	return g, nil
}

func listWatch(cfg *Config, k kind, codecs serializer.CodecFactory) (*toolscache.ListWatch, error) {
	if !k.bare {
		client, err := apiutil.RESTClientForGVK(k.group.WithKind(k.name), false, false, cfg.Client, codecs, cfg.HTTP)
		if err != nil {
			return nil, err
		}
		return toolscache.NewFilteredListWatchFromClient(client, k.resource, metav1.NamespaceAll, func(*metav1.ListOptions) {}), nil
	}
	client, err := metadata.NewForConfigAndClient(metadata.ConfigFor(cfg.Client), cfg.HTTP)
	if err != nil {
		return nil, err
	}
	of := client.Resource(k.group.WithResource(k.resource))
	return &toolscache.ListWatch{
		ListWithContextFunc:  func(ctx context.Context, opts metav1.ListOptions) (runtime.Object, error) { return of.List(ctx, opts) },
		WatchFuncWithContext: of.Watch,
	}, nil
}

// counted counts what fails.
func (g *Gatherer) counted(kind string, lw *toolscache.ListWatch) *toolscache.ListWatch {
	failed := g.failures.WithLabelValues(kind)
	count := func(ctx context.Context, err error) {
		if err != nil && ctx.Err() == nil {
			failed.Inc()
		}
	}
	return &toolscache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, opts metav1.ListOptions) (runtime.Object, error) {
			list, err := lw.ListWithContextFunc(ctx, opts)
			count(ctx, err)
			return list, err
		},
		WatchFuncWithContext: func(ctx context.Context, opts metav1.ListOptions) (watch.Interface, error) {
			w, err := lw.WatchFuncWithContext(ctx, opts)
			count(ctx, err)
			return w, err
		},
	}
}

// backoff is between attempts to list and watch. Its longest wait is what a
// change takes to arrive after the API server is back, so it is shorter than
// client-go's: the operator has few watches, and few replicas.
func backoff() *wait.Backoff {
	return &wait.Backoff{Duration: 500 * time.Millisecond, Factor: 2, Jitter: 0.5, Steps: 16, Cap: 8 * time.Second}
}

// Start watches until ctx ends.
func (g *Gatherer) Start(ctx context.Context) error {
	var all sync.WaitGroup
	for _, s := range g.sources {
		log := g.cfg.Log.WithValues("kind", s.name)
		reflector := toolscache.NewReflectorWithOptions(s.watch, s.example, &sink{kind: s.name, emit: g.cfg.Emit},
			toolscache.ReflectorOptions{Logger: &log, Name: s.name, Backoff: backoff()})
		all.Go(func() { reflector.RunWithContext(ctx) })
	}
	all.Wait()
	return nil
}
