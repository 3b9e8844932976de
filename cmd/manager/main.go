// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

// Command manager is the operator: it watches RPCServices, policies, Services
// and EndpointSlices, and serves what follows from them as a registry.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	uberzap "go.uber.org/zap"
	"k8s.io/klog/v2"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client/config"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"

	"github.com/fairlead/fairlead/controllers"
)

// version is set by the linker.
var version = "dev"

const usage = `manager runs the Fairlead operator.

It reads RPCServices, RPCCallPolicies, RPCLimitPolicies, Services and EndpointSlices,
and serves the registry from which clients and servers learn endpoints and policies.
Any number of replicas may run; all of them serve, and the one that holds the Lease
writes statuses. Without the API server it goes on serving what it knows.

Usage: manager [flags]

`

// namespaceFile is where a Pod finds its own namespace.
const namespaceFile = "/var/run/secrets/kubernetes.io/serviceaccount/namespace"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	// A second signal ends the process at once.
	context.AfterFunc(ctx, stop)
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	switch {
	case errors.Is(err, flag.ErrHelp):
	case errors.Is(err, errUsage):
		os.Exit(2)
	case err != nil:
		fmt.Fprintf(os.Stderr, "manager: %v\n", err)
		os.Exit(1)
	}
}

// errUsage says that the flags were wrong; the flag package has told why.
var errUsage = errors.New("wrong flags")

func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	options := controllers.Options{}
	flags := flag.NewFlagSet("manager", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.Usage = func() {
		fmt.Fprint(flags.Output(), usage)
		flags.PrintDefaults()
	}
	showVersion := flags.Bool("version", false, "print the version and exit")
	registerFlags(flags, &options)
	config.RegisterFlags(flags)
	logging := zap.Options{StacktraceLevel: uberzap.DPanicLevel}
	logging.BindFlags(flags)
	if err := flags.Parse(args); errors.Is(err, flag.ErrHelp) {
		return err
	} else if err != nil {
		return errUsage
	}
	if flags.NArg() > 0 {
		return fmt.Errorf("argument %q is not understood: everything is said by flags; see --help", flags.Arg(0))
	}
	if *showVersion {
		_, err := fmt.Fprintln(stdout, version)
		return err
	}
	if err := options.Validate(); err != nil {
		return err
	}

	log := zap.New(zap.UseFlagOptions(&logging))
	ctrl.SetLogger(quiet(log))
	klog.SetLogger(log.WithName("client-go"))
	rest, err := ctrl.GetConfig()
	if err != nil {
		return fmt.Errorf("where is the API server? Run in a cluster, or name a file with --kubeconfig: %w", err)
	}
	options.Config, options.Log = rest, log
	log.Info("starting", "version", version)
	return controllers.Run(ctx, options)
}

// registerFlags declares what can be set, with the defaults.
func registerFlags(flags *flag.FlagSet, o *controllers.Options) {
	flags.StringVar(&o.RegistryAddress, "registry-bind-address", "127.0.0.1:7443",
		"`host:port` at which the registry is served; with TLS unless it is loopback")
	flags.BoolVar(&o.RegistryInsecure, "registry-insecure-bind", false,
		"serve the registry in plaintext at an address that other machines can reach, although anybody there can then read it")
	flags.StringVar(&o.RegistryTLS, "registry-tls", "",
		"`way` in which the registry's connections are secured: managed, by an authority that the operator makes and replaces; files, "+
			"by what is in --registry-cert-dir; none. With TLS callers need a token. Default: files with --registry-cert-dir, none "+
			"on loopback, else managed")
	flags.StringVar(&o.RegistryCertDir, "registry-cert-dir", "",
		"`folder` with tls.crt, tls.key and ca.crt, as in cert-manager's Secrets; read again when they change")
	flags.StringVar(&o.RegistryCASecret, "registry-ca-secret", "fairlead-registry-ca",
		"`name` of the Secret, in --lease-namespace, with the authority of --registry-tls=managed")
	flags.Func("registry-advertise-address",
		"`host:port`, or several with commas, that Pods are told and that certificates are for. Default fairlead-registry.NAMESPACE.svc "+
			"with the port of --registry-bind-address; on loopback without TLS Pods are told nothing", func(s string) error {
			o.RegistryAdvertise = strings.Split(s, ",")
			return nil
		})
	flags.StringVar(&o.RegistryService, "registry-service", "",
		"`namespace/name` of the operator's own Service, by whose EndpointSlices replicas find each other to count clients; default "+
			"fairlead-registry in --lease-namespace")
	flags.StringVar(&o.TokenAudience, "registry-token-audience", "fairlead", "`audience` that callers' tokens must be for")
	flags.StringVar(&o.TokenFile, "registry-token-file", "/var/run/fairlead/token",
		"`file` with the operator's own token of that audience, for replicas among each other")
	flags.DurationVar(&o.DrainTimeout, "registry-drain-timeout", 10*time.Second,
		"how long clients get at SIGTERM to move on to another replica")
	flags.StringVar(&o.MetricsAddress, "metrics-bind-address", "127.0.0.1:8080",
		"`host:port` of Prometheus metrics, at /metrics over plain HTTP; 0 turns them off")
	flags.StringVar(&o.HealthAddress, "health-probe-bind-address", ":8081",
		"`host:port` of /healthz and /readyz; 0 turns them off. Ready means that everything was published once; it stays so "+
			"without the API server")
	flags.StringVar(&o.AdminAddress, "admin-bind-address", "127.0.0.1:8082",
		"`host:port`, on loopback only, at which /clients says which clients hold what; fairlead explain and fairlead status come there "+
			"by port-forward. 0 turns it off")
	flags.Uint64Var(&o.Epoch, "epoch", 0,
		"raise this `number` on all replicas after etcd was restored from a backup: clients then take what is served as new, "+
			"although its revisions are lower")
	flags.StringVar(&o.LeaseNamespace, "lease-namespace", podNamespace(namespaceFile),
		"`namespace` of the Lease, whose holder writes statuses; in a Pod its own")
	flags.StringVar(&o.LeaseName, "lease-name", "fairlead-status", "`name` of that Lease")
}

// podNamespace gives the namespace that a Pod runs in, or the one that our
// manifests use.
func podNamespace(file string) string {
	content, err := os.ReadFile(file)
	if namespace := strings.TrimSpace(string(content)); err == nil && namespace != "" {
		return namespace
	}
	return "fairlead-system"
}
