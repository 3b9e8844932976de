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

	"github.com/fairlead/fairlead/controllers/registry/admin"
	"github.com/fairlead/fairlead/controllers/registry/serve"
	"github.com/fairlead/fairlead/rpcruntime/policy"
)

// Options set up the operator. Zero values are defaults unless said otherwise.
type Options struct {
	// Config says where the API server is. Required.
	Config *rest.Config
	// RegistryAddress is where clients subscribe, host:port; default
	// 127.0.0.1:7443. It must be loopback unless there is TLS, or RegistryInsecure
	// is set.
	RegistryAddress  string
	RegistryInsecure bool
	// RegistryTLS says how connections are secured: TLSManaged, TLSFiles or TLSNone.
	// Default: TLSFiles with a RegistryCertDir, else TLSNone on loopback or with
	// RegistryInsecure, else TLSManaged.
	RegistryTLS string
	// RegistryCertDir has tls.crt, tls.key and ca.crt, for TLSFiles.
	RegistryCertDir string
	// RegistryCASecret is the Secret, in LeaseNamespace, with the authority of
	// TLSManaged; default fairlead-registry-ca.
	RegistryCASecret string
	// RegistryAdvertise are the addresses, host:port, that Pods are told and that
	// certificates are for. Default fairlead-registry.LeaseNamespace.svc with the
	// port of RegistryAddress; on loopback without TLS none, and Pods are told
	// nothing.
	RegistryAdvertise []string
	// TokenAudience is what callers' tokens must be for; default fairlead. Without
	// TLS nobody is asked for one.
	TokenAudience string
	// TokenFile is this replica's own token, for other replicas; default
	// /var/run/fairlead/token.
	TokenFile string
	// CALifetime, CertificateLifetime and CASettle are of TLSManaged: a year, a day
	// and an hour unless set. package trust
	CALifetime, CertificateLifetime, CASettle time.Duration
	// RegistryService is the operator's own Service, NAMESPACE/NAME, by whose
	// EndpointSlices replicas find each other; default fairlead-registry in
	// LeaseNamespace. Peers, if not nil, gives their addresses instead.
	RegistryService string
	Peers           func() []string
	// CountInterval is how often clients are counted over all replicas; default 2 s.
	CountInterval time.Duration
	// Listening, if not nil, is told of the registry's address once it is open.
	Listening func(net.Addr)
	// MetricsAddress and HealthAddress are host:port; "0", the default, is off.
	MetricsAddress, HealthAddress string
	// AdminAddress, host:port on loopback, is where administrators ask what clients
	// hold; "0", the default, is off. AdminListening, if not nil, is told of the
	// address once it is open.
	AdminAddress   string
	AdminListening func(net.Addr)
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

// The ways to secure the registry's connections.
const (
	// TLSManaged has an authority of our own, kept in a Secret.
	TLSManaged = "managed"
	// TLSFiles has certificates that somebody else keeps in a folder.
	TLSFiles = "files"
	// TLSNone is plaintext.
	TLSNone = "none"
)

// Validate says what is wrong with what was set, Config aside.
func (o *Options) Validate() error {
	address, way := cmp.Or(o.RegistryAddress, defaultRegistryAddress), o.tls()
	switch way {
	case TLSManaged, TLSNone:
		if o.RegistryCertDir != "" {
			return fmt.Errorf("--registry-cert-dir=%s is not read with --registry-tls=%s: leave one of them out", o.RegistryCertDir, way)
		}
	case TLSFiles:
		if o.RegistryCertDir == "" {
			return errors.New("--registry-tls=files needs --registry-cert-dir, a folder with tls.crt, tls.key and ca.crt")
		}
	default:
		return fmt.Errorf("--registry-tls=%s is none of %s, %s, %s", way, TLSManaged, TLSFiles, TLSNone)
	}
	if way != TLSNone && o.RegistryInsecure {
		return fmt.Errorf("--registry-insecure-bind asks for plaintext, and --registry-tls=%s for TLS: leave one of them out", way)
	}
	for _, a := range o.RegistryAdvertise {
		if err := policy.ValidateAddress(a); err != nil {
			return fmt.Errorf("--registry-advertise-address: %w", err)
		}
	}
	if o.RegistryService != "" {
		if err := policy.ValidateServiceName(o.RegistryService); err != nil {
			return fmt.Errorf("--registry-service: %w", err)
		}
	}
	if o.admin() {
		if err := admin.Check(o.AdminAddress); err != nil {
			return fmt.Errorf("--admin-bind-address: %w", err)
		}
	}
	return serve.Check(address, way != TLSNone, o.RegistryInsecure)
}

// admin says whether there is an admin port.
func (o *Options) admin() bool { return o.AdminAddress != "" && o.AdminAddress != "0" }

// tls gives the way in which connections are secured.
func (o *Options) tls() string {
	host, _, err := net.SplitHostPort(cmp.Or(o.RegistryAddress, defaultRegistryAddress))
	switch {
	case o.RegistryTLS != "":
		return o.RegistryTLS
	case o.RegistryCertDir != "":
		return TLSFiles
	case o.RegistryInsecure, err == nil && serve.Loopback(host):
		return TLSNone
	default:
		return TLSManaged
	}
}

// advertise gives the addresses that Pods are told.
func (o *Options) advertise() []string {
	host, port, err := net.SplitHostPort(o.RegistryAddress)
	if len(o.RegistryAdvertise) > 0 || err != nil || serve.Loopback(host) && o.RegistryTLS == TLSNone {
		return o.RegistryAdvertise
	}
	return []string{net.JoinHostPort("fairlead-registry."+o.LeaseNamespace+".svc", port)}
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
	o.RegistryTLS = o.tls()
	o.RegistryAdvertise = o.advertise()
	o.RegistryCASecret = cmp.Or(o.RegistryCASecret, "fairlead-registry-ca")
	o.RegistryService = cmp.Or(o.RegistryService, o.LeaseNamespace+"/fairlead-registry")
	o.TokenAudience = cmp.Or(o.TokenAudience, "fairlead")
	o.TokenFile = cmp.Or(o.TokenFile, "/var/run/fairlead/token")
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
