// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/config"
	"sigs.k8s.io/controller-runtime/pkg/healthz"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/fairlead/fairlead/api/v1alpha1"
	"github.com/fairlead/fairlead/controllers/crd"
	"github.com/fairlead/fairlead/controllers/lease"
	policystatus "github.com/fairlead/fairlead/controllers/policy/status"
	"github.com/fairlead/fairlead/controllers/projection"
	"github.com/fairlead/fairlead/controllers/registry"
	"github.com/fairlead/fairlead/controllers/registry/admin"
	"github.com/fairlead/fairlead/controllers/registry/gather"
	"github.com/fairlead/fairlead/controllers/registry/publish"
	"github.com/fairlead/fairlead/controllers/registry/serve"
	servicestatus "github.com/fairlead/fairlead/controllers/rpcservice/status"
)

// Run runs the operator until ctx ends, and stops it in good order.
func Run(ctx context.Context, o Options) error {
	if err := o.complete(); err != nil {
		return err
	}
	mgr, err := newManager(&o)
	if err != nil {
		return err
	}
	if err := addControllers(mgr, &o); err != nil {
		return err
	}
	return mgr.Start(ctx)
}

// addControllers constructs every part of the operator: its table of contents.
func addControllers(mgr ctrl.Manager, o *Options) error {
	log := o.Log
	secure, err := newSecurity(mgr, o)
	if err != nil {
		return err
	}
	serving := serve.Config{
		Address: o.RegistryAddress, Insecure: o.RegistryInsecure, DrainTimeout: o.DrainTimeout,
		Replica: o.Identity, Listening: o.Listening, Metrics: o.Metrics, Log: log.WithName("registry"),
	}
	secure.into(&serving)
	endpoint, err := serve.New(serving)
	if err != nil {
		return err
	}
	secure.endpoint = endpoint
	publisher, err := publish.New(publish.Config{
		Definitions: crd.Reader{Live: mgr.GetAPIReader()}, Moved: endpoint.Moved, Metrics: o.Metrics,
		Log: log.WithName("publish"),
	})
	if err != nil {
		return err
	}
	served := &crd.Served{Live: mgr.GetAPIReader(), Log: log.WithName("definitions")}
	gatherer, err := gather.New(gather.Config{
		Client: mgr.GetConfig(), HTTP: mgr.GetHTTPClient(), Scheme: mgr.GetScheme(), Emit: secure.receive(publisher.Receive),
		Metrics: o.Metrics, Log: log.WithName("gather"),
	})
	if err != nil {
		return err
	}
	elector, err := lease.New(lease.Config{
		Client: mgr.GetConfig(), Namespace: o.LeaseNamespace, Name: o.LeaseName, Identity: o.Identity,
		Duration: o.LeaseDuration, RenewDeadline: o.RenewDeadline, RetryPeriod: o.RetryPeriod,
		Acquired: publisher.Announce, Metrics: o.Metrics, Log: log.WithName("lease"),
	})
	if err != nil {
		return err
	}
	secure.may = elector.Held
	writer, err := projection.NewWriter(projection.Config{Client: mgr.GetClient(), May: elector.Held, Metrics: o.Metrics})
	if err != nil {
		return err
	}
	clients, err := newCounting(o, secure, publisher, endpoint, elector.Held)
	if err != nil {
		return err
	}
	ready := &readiness{
		definitions: served.Problem, waiting: publisher.Waiting, published: publisher.Ready, listening: endpoint.Listening,
		log: log.WithName("ready"),
	}
	return errors.Join(
		mgr.Add(whenServed(served, gatherer.Start)),
		mgr.Add(&registry.Controller{
			Epoch: registry.Epoch{Live: mgr.GetAPIReader(), Number: o.Epoch}, Publisher: publisher, Endpoint: endpoint,
			Log: log.WithName("registry"),
		}),
		mgr.Add(manager.RunnableFunc(elector.Start)),
		secure.addTo(mgr),
		mgr.Add(clients),
		addAdmin(mgr, o, endpoint),
		servicestatus.New(publisher, writer).Register(mgr),
		policystatus.NewCall(publisher, writer).Register(mgr),
		policystatus.NewLimit(publisher, writer).Register(mgr),
		mgr.AddHealthzCheck("process", healthz.Ping),
		mgr.AddReadyzCheck("definitions", func(*http.Request) error { return served.Problem() }),
		mgr.AddReadyzCheck("published", ready.check),
		mgr.AddReadyzCheck("callers", secure.judges),
	)
}

// addAdmin adds the admin port, if there is to be one.
func addAdmin(mgr ctrl.Manager, o *Options, endpoint *serve.Endpoint) error {
	if !o.admin() {
		return nil
	}
	port, err := admin.New(admin.Config{
		Address: o.AdminAddress, Held: endpoint.Held, Listening: o.AdminListening, Metrics: o.Metrics, Log: o.Log.WithName("admin"),
	})
	if err != nil {
		return err
	}
	return mgr.Add(manager.RunnableFunc(port.Start))
}

// whenServed starts something once the definitions in the cluster suit this
// operator.
func whenServed(served *crd.Served, start func(context.Context) error) manager.Runnable {
	return manager.RunnableFunc(func(ctx context.Context) error {
		err := served.Await(ctx)
		if err == nil {
			return start(ctx)
		}
		if ctx.Err() != nil {
			err = nil // that is how it is meant to end
		}
		return err
	})
}

// newManager makes what runs the parts. It elects nobody: package lease does.
func newManager(o *Options) (ctrl.Manager, error) {
	scheme := runtime.NewScheme()
	if err := errors.Join(v1alpha1.AddToScheme(scheme), corev1.AddToScheme(scheme), discoveryv1.AddToScheme(scheme)); err != nil {
		return nil, fmt.Errorf("scheme: %w", err)
	}
	cfg := rest.CopyConfig(o.Config)
	if cfg.QPS == 0 {
		cfg.QPS, cfg.Burst = 50, 100
	}
	graceful, again := o.DrainTimeout+5*time.Second, true
	return ctrl.NewManager(cfg, ctrl.Options{
		Scheme:                  scheme,
		Logger:                  o.Log,
		Metrics:                 metricsserver.Options{BindAddress: o.MetricsAddress},
		HealthProbeBindAddress:  o.HealthAddress,
		GracefulShutdownTimeout: &graceful,
		// Nothing is read through this cache; package gather watches. A read that
		// goes there by mistake fails, and does not start another watch.
		Cache: cache.Options{ReaderFailOnMissingInformer: true},
		// Names are made unique here, and several operators may run in one
		// process.
		Controller: config.Controller{SkipNameValidation: &again},
	})
}
