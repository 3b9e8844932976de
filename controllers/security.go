// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/manager"

	"github.com/fairlead/fairlead/controllers/bundle"
	"github.com/fairlead/fairlead/controllers/identity"
	"github.com/fairlead/fairlead/controllers/registry/gather"
	"github.com/fairlead/fairlead/controllers/registry/serve"
	"github.com/fairlead/fairlead/controllers/trust"
	"github.com/fairlead/fairlead/internal/publish"
)

// security is what secures the registry's connections, and tells Pods where the
// registry is and whom to believe there. Its parts are made before what they
// need to know: endpoint and may are set before anything runs.
type security struct {
	options  *Options
	verifier *identity.Verifier // nil without TLS
	shown    *trust.Shown       // nil without TLS
	bundles  *bundle.Controller // nil when Pods are told nothing
	parts    []func(context.Context) error

	endpoint *serve.Endpoint
	may      func() bool
}

// newSecurity makes the parts. It touches no network.
func newSecurity(mgr ctrl.Manager, o *Options) (*security, error) {
	s := &security{options: o}
	// Pods are many and large: the binary form costs a fraction of what JSON does.
	// The cluster's keys come in neither of the two.
	binary := rest.CopyConfig(mgr.GetConfig())
	binary.ContentType = runtime.ContentTypeProtobuf
	binary.AcceptContentTypes = runtime.ContentTypeProtobuf + "," + runtime.ContentTypeJSON + ",*/*"
	client, err := kubernetes.NewForConfigAndClient(binary, mgr.GetHTTPClient())
	if err != nil {
		return nil, fmt.Errorf("security: %w", err)
	}
	if o.RegistryTLS != TLSNone {
		if err := s.secure(client); err != nil {
			return nil, err
		}
	}
	if len(o.RegistryAdvertise) == 0 {
		return s, nil
	}
	s.bundles, err = bundle.New(bundle.Config{
		Client: client.CoreV1(), Content: s.content, May: s.held, Metrics: o.Metrics, Log: o.Log.WithName("bundle"),
	})
	if err != nil {
		return nil, err
	}
	s.parts = append(s.parts, s.bundles.Start)
	return s, nil
}

// secure makes what TLS needs.
func (s *security) secure(client kubernetes.Interface) (err error) {
	o := s.options
	s.verifier, err = identity.New(identity.Config{
		Client: client, Audience: o.TokenAudience, OwnToken: o.TokenFile, Gone: func(uid string) { s.endpoint.Gone(uid) },
		Metrics: o.Metrics, Log: o.Log.WithName("identity"),
	})
	if err != nil {
		return err
	}
	s.parts = append(s.parts, s.verifier.Start)
	log := o.Log.WithName("trust")
	hosts := s.hosts()
	if o.RegistryTLS == TLSFiles {
		files, err := trust.NewFiles(o.RegistryCertDir, hosts[0], s.changed, o.Metrics, log)
		if err != nil {
			return err
		}
		s.shown, s.parts = files.Shown(), append(s.parts, files.Start)
		return nil
	}
	managed, err := trust.NewManaged(trust.Config{
		Client: client.CoreV1(), Namespace: o.LeaseNamespace, Secret: o.RegistryCASecret, Manager: o.Identity, Hosts: hosts,
		May: s.held, Lack: func(bundle []byte) int { return s.endpoint.Lack(bundle) }, Changed: s.changed,
		Lifetime: o.CALifetime, Leaf: o.CertificateLifetime, Settle: o.CASettle, Metrics: o.Metrics, Log: log,
	})
	if err != nil {
		return err
	}
	s.shown, s.parts = managed.Shown(), append(s.parts, managed.Start)
	return nil
}

// hosts are those that certificates are for. Names of a Service are also found
// without .svc, by resolvers that add the rest.
func (s *security) hosts() (hosts []string) {
	for _, a := range s.options.RegistryAdvertise {
		host, _, err := net.SplitHostPort(a)
		if err != nil || slices.Contains(hosts, host) {
			continue
		}
		hosts = append(hosts, host)
		if short, ok := strings.CutSuffix(host, ".svc"); ok {
			name, _, _ := strings.Cut(short, ".")
			hosts = append(hosts, short, name)
		}
	}
	return hosts
}

// judges is a readyz check: a replica that cannot judge tokens yet turns every
// caller away.
func (s *security) judges(*http.Request) error {
	if s.verifier != nil && !s.verifier.Ready() {
		return errors.New("waits for the API server, to list Pods, without which no token can be judged")
	}
	return nil
}

func (s *security) held() bool { return s.may() }

// changed is told of another bundle, or certificate.
func (s *security) changed() {
	if s.endpoint != nil {
		s.endpoint.Trust()
	}
	if s.bundles != nil {
		s.bundles.Wake()
	}
}

// content is what Pods are told.
func (s *security) content() (data map[string]string, known bool) {
	data = map[string]string{bundle.KeyAddress: strings.Join(s.options.RegistryAdvertise, ",")}
	if s.shown == nil {
		return data, true
	}
	pem := s.shown.Bundle()
	data[bundle.KeyCA] = string(pem)
	return data, pem != nil
}

// receive hands on what is gathered.
func (s *security) receive(next func(gather.Event)) func(gather.Event) {
	if s.bundles == nil {
		return next
	}
	return func(e gather.Event) {
		next(e)
		s.bundles.Receive(e)
	}
}

// into sets up the endpoint.
func (s *security) into(cfg *serve.Config) {
	if s.shown == nil {
		return
	}
	cfg.TLS, cfg.Certified, cfg.Bundle = s.shown.ServerTLS(), s.shown.Wait, s.shown.Bundle
	cfg.Authenticate = s.authenticate
}

// authenticate says who the bearer of a token is.
func (s *security) authenticate(ctx context.Context, token, namespace, podUID string) (*publish.Principal, error) {
	p, err := s.verifier.Authenticate(ctx, token, identity.Declared{Namespace: namespace, PodUID: podUID})
	if err != nil {
		return nil, err
	}
	return &publish.Principal{
		Namespace: p.Namespace, ServiceAccount: p.ServiceAccount, Pod: p.Pod, PodUID: p.PodUID, Expires: p.Expires, Replica: p.Replica,
	}, nil
}

// peerTLS is how another replica is called, as of now; nil for plaintext.
func (s *security) peerTLS() *tls.Config {
	if s.shown == nil {
		return nil
	}
	return s.shown.ClientTLS(s.hosts()[0])
}

// addTo has a manager run the parts.
func (s *security) addTo(mgr ctrl.Manager) error {
	var errs []error
	for _, part := range s.parts {
		errs = append(errs, mgr.Add(manager.RunnableFunc(part)))
	}
	return errors.Join(errs...)
}
