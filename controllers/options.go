// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	"github.com/go-logr/logr"
	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/metrics"

	"github.com/fairlead/fairlead/controllers/registry/serve"
)

// Options set up the operator. Zero values are defaults unless said otherwise.
type Options struct {
	// Config says where the API server is. Required.
	Config *rest.Config
	// RegistryAddress is where clients subscribe, host:port; default
	// 127.0.0.1:7443. It must be loopback unless RegistryInsecure is set.
	RegistryAddress  string
	RegistryInsecure bool
	// Listening, if not nil, is told of the registry's address once it is open.
	Listening func(net.Addr)
	// MetricsAddress and HealthAddress are host:port; "0", the default, is off.
	MetricsAddress, HealthAddress string
	// Epoch is a number to be raised when etcd was restored from a backup.
	Epoch uint64
	// LeaseNamespace and LeaseName say which Lease the writer of statuses holds;
	// default fairlead-system and fairlead-status.
	LeaseNamespace, LeaseName string
	// Identity is this replica's in the Lease; default the host name and
	// something random.
	Identity string
	// LeaseDuration, RenewDeadline and RetryPeriod default to 15 s, 10 s and 2 s.
	LeaseDuration, RenewDeadline, RetryPeriod time.Duration
	// DrainTimeout bounds the drain of the registry's connections; default 10 s.
	DrainTimeout time.Duration
	// Metrics is where metrics are registered; default controller-runtime's
	// registry, which MetricsAddress serves.
	Metrics prometheus.Registerer
	// Log gets what happens. The zero Logger discards.
	Log logr.Logger
}

const defaultRegistryAddress = "127.0.0.1:7443"

// Validate says what is wrong with what was set, Config aside.
func (o *Options) Validate() error {
	return serve.Check(cmp.Or(o.RegistryAddress, defaultRegistryAddress), o.RegistryInsecure)
}

// complete checks the options and fills in defaults.
func (o *Options) complete() error {
	if o.Config == nil {
		return errors.New("options: Config is needed to reach the API server")
	}
	if err := o.Validate(); err != nil {
		return err
	}
	o.RegistryAddress = cmp.Or(o.RegistryAddress, defaultRegistryAddress)
	o.MetricsAddress = cmp.Or(o.MetricsAddress, "0")
	o.HealthAddress = cmp.Or(o.HealthAddress, "0")
	o.LeaseNamespace = cmp.Or(o.LeaseNamespace, "fairlead-system")
	o.LeaseName = cmp.Or(o.LeaseName, "fairlead-status")
	o.DrainTimeout = cmp.Or(o.DrainTimeout, 10*time.Second)
	if o.Identity == "" {
		host, err := os.Hostname()
		if err != nil {
			return fmt.Errorf("options: Identity is empty and there is no host name: %w", err)
		}
		o.Identity = host + "_" + uuid.NewString()
	}
	if o.Metrics == nil {
		o.Metrics = metrics.Registry
	}
	return nil
}
