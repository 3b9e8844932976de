// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package explain

import (
	"context"
	"errors"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead/fairlead/api/v1alpha1"
	"github.com/fairlead/fairlead/internal/compile"
)

// Cluster reads from an API server, with the rights of whoever Reader is.
type Cluster struct {
	Reader client.Reader
	// Config is what Reader was made with; nil in tests that need none.
	Config *rest.Config
}

// ErrNoCluster says that nothing names a cluster.
var ErrNoCluster = errors.New("no cluster is named: set KUBECONFIG, or --kubeconfig")

// Connect takes a cluster as kubectl does: from the file that is named, from
// KUBECONFIG, from the file in the home folder, or in a Pod from the Pod. Both
// arguments may be empty. It gives the namespace of the context, too, and asks
// the API server nothing yet.
func Connect(kubeconfig, context string) (cluster *Cluster, namespace string, err error) {
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	rules.ExplicitPath = kubeconfig
	config := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, &clientcmd.ConfigOverrides{CurrentContext: context})
	cfg, err := config.ClientConfig()
	if clientcmd.IsEmptyConfig(err) {
		return nil, "", ErrNoCluster
	}
	if err != nil {
		return nil, "", fmt.Errorf("kubeconfig: %w", err)
	}
	if namespace, _, err = config.Namespace(); err != nil {
		return nil, "", fmt.Errorf("kubeconfig: %w", err)
	}
	reader, err := NewReader(cfg)
	return &Cluster{reader, cfg}, namespace, err
}

// NewReader makes a client that knows the kinds that are read here.
func NewReader(cfg *rest.Config) (client.Reader, error) {
	scheme := runtime.NewScheme()
	if err := errors.Join(v1alpha1.AddToScheme(scheme), corev1.AddToScheme(scheme), discoveryv1.AddToScheme(scheme)); err != nil {
		return nil, fmt.Errorf("scheme: %w", err)
	}
	cfg = rest.CopyConfig(cfg)
	cfg.WarningHandler = rest.NoWarnings{}
	return client.New(cfg, client.Options{Scheme: scheme})
}

// reading fills a World.
type reading struct {
	*World
	from client.Reader
}

func (c *Cluster) begin() *reading {
	return &reading{&World{objects: compile.NewObjects(compile.Mode{})}, c.Reader}
}

// The resources, as they stand in RBAC rules.
const (
	services      = "services"
	slicesOfThese = "endpointslices.discovery.k8s.io"
	namespaces    = "namespaces"
)

func own(resource string) string { return resource + "." + v1alpha1.GroupName }

// list reads objects of a kind. A right that is missing is noted, with what
// cannot be said without it; ok is false then.
func (r *reading) list(ctx context.Context, into client.ObjectList, resource, namespace, without string, options ...client.ListOption) (ok bool, err error) {
	err = r.from.List(ctx, into, append(options, client.InNamespace(namespace))...)
	if apierrors.IsForbidden(err) {
		r.notRead = append(r.notRead, NotRead{"list", resource, namespace, without})
		return false, nil
	}
	if err != nil {
		return false, failed(resource, err)
	}
	return true, meta.EachListItem(into, func(o runtime.Object) error {
		_, err := r.objects.Set(o, 0)
		return err
	})
}

func failed(resource string, err error) error {
	if meta.IsNoMatchError(err) {
		return fmt.Errorf("the API server has no %s: install the chart fairlead-crds there, or name another cluster", resource)
	}
	return fmt.Errorf("reading %s: %w", resource, err)
}

// Call reads what callers in a namespace have to do with a service.
func (c *Cluster) Call(ctx context.Context, service Key, caller string) (*World, error) {
	r := c.begin()
	s, err := r.service(ctx, service)
	if err != nil {
		return nil, err
	}
	if err := r.admission(ctx, s, caller); err != nil {
		return nil, err
	}
	for _, namespace := range slices.Compact([]string{service.Namespace, caller}) {
		without := "what call policies of " + namespace + " say is not known, and may change what is said here"
		if err := r.made(ctx, &v1alpha1.RPCCallPolicyList{}, own(v1alpha1.ResourceRPCCallPolicies), namespace, without); err != nil {
			return nil, err
		}
	}
	r.noPolicy = r.noDigest
	if _, err := r.list(ctx, &v1alpha1.RPCLimitPolicyList{}, own(v1alpha1.ResourceRPCLimitPolicies), service.Namespace,
		"the limits of "+service.String()+" are not known"); err != nil {
		return nil, err
	}
	return r.World, r.endpoints(ctx, s, noDigest)
}

// Endpoints reads what the endpoints of a service follow from.
func (c *Cluster) Endpoints(ctx context.Context, service Key) (*World, error) {
	r := c.begin()
	s, err := r.service(ctx, service)
	if err != nil {
		return nil, err
	}
	if err := r.endpoints(ctx, s, "the endpoints are not known"); err != nil {
		return nil, err
	}
	if r.noDigest {
		return nil, errors.New(r.notRead[0].String())
	}
	return r.World, r.made(ctx, &v1alpha1.RPCCallPolicyList{}, own(v1alpha1.ResourceRPCCallPolicies), service.Namespace, noDigest)
}

// Status reads how the services of a namespace stand; of all when it is empty.
func (c *Cluster) Status(ctx context.Context, namespace string) (*World, error) {
	r := c.begin()
	ok, err := r.list(ctx, &v1alpha1.RPCServiceList{}, own(v1alpha1.ResourceRPCServices), namespace, "nothing can be said")
	switch {
	case err != nil:
		return nil, err
	case !ok:
		return nil, errors.New(r.notRead[0].String())
	}
	for _, kind := range []struct {
		list     client.ObjectList
		resource string
	}{
		{&v1alpha1.RPCCallPolicyList{}, own(v1alpha1.ResourceRPCCallPolicies)},
		{&corev1.ServiceList{}, services},
		{&discoveryv1.EndpointSliceList{}, slicesOfThese},
	} {
		if err := r.made(ctx, kind.list, kind.resource, namespace, noDigest); err != nil {
			return nil, err
		}
	}
	return r.World, nil
}

const noDigest = "the digest is not known"

// made lists objects that digests are made of.
func (r *reading) made(ctx context.Context, into client.ObjectList, resource, namespace, without string, options ...client.ListOption) error {
	ok, err := r.list(ctx, into, resource, namespace, without, options...)
	r.noDigest = r.noDigest || !ok
	return err
}

// service reads an RPCService. Without it nothing can be said.
func (r *reading) service(ctx context.Context, key Key) (*v1alpha1.RPCService, error) {
	s := &v1alpha1.RPCService{}
	err := r.from.Get(ctx, key, s)
	switch {
	case apierrors.IsNotFound(err):
		return nil, notFoundService(key, r.others(ctx, key.Namespace), false)
	case apierrors.IsForbidden(err):
		missing := NotRead{"get", own(v1alpha1.ResourceRPCServices), key.Namespace, "nothing can be said"}
		return nil, errors.New(missing.String() + "; the role fairlead-rpcservice-viewer has that right")
	case err != nil:
		return nil, failed(own(v1alpha1.ResourceRPCServices), err)
	}
	_, err = r.objects.Set(s, 0)
	return s, err
}

// others gives the services that may be seen, for what may have been meant.
func (r *reading) others(ctx context.Context, namespace string) (keys []Key) {
	for _, where := range []string{metav1.NamespaceAll, namespace} {
		var list v1alpha1.RPCServiceList
		if r.from.List(ctx, &list, client.InNamespace(where)) != nil {
			continue // it is only for a suggestion
		}
		for i := range list.Items {
			keys = append(keys, compile.KeyOf(&list.Items[i]))
		}
		return keys
	}
	return nil
}

// admission reads what says whether callers in a namespace may subscribe.
func (r *reading) admission(ctx context.Context, s *v1alpha1.RPCService, caller string) error {
	if !selects(s) || caller == s.Namespace {
		return nil
	}
	namespace := &metav1.PartialObjectMetadata{}
	namespace.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind(compile.KindNamespace))
	err := r.from.Get(ctx, Key{Name: caller}, namespace)
	switch {
	case apierrors.IsNotFound(err):
		return nil // no selector selects it
	case apierrors.IsForbidden(err):
		r.notRead = append(r.notRead, NotRead{"get", namespaces, "",
			"whether " + compile.KeyOf(s).String() + " lets callers in " + caller + " subscribe is not known"})
		return r.admit(s)
	case err != nil:
		return failed(namespaces, err)
	}
	_, err = r.objects.Set(namespace, 0)
	return err
}

// endpoints reads the Service and the slices that an RPCService names.
func (r *reading) endpoints(ctx context.Context, s *v1alpha1.RPCService, without string) error {
	if s.Spec.Source.Service == nil {
		return nil
	}
	service := &corev1.Service{}
	err := r.from.Get(ctx, Key{Namespace: s.Namespace, Name: s.Spec.Source.Service.Name}, service)
	switch {
	case apierrors.IsNotFound(err): // which is what there is to say
	case apierrors.IsForbidden(err):
		r.notRead = append(r.notRead, NotRead{"get", services, s.Namespace, without})
		r.noDigest = true
	case err != nil:
		return failed(services, err)
	default:
		if _, err := r.objects.Set(service, 0); err != nil {
			return err
		}
	}
	return r.made(ctx, &discoveryv1.EndpointSliceList{}, slicesOfThese, s.Namespace, without,
		client.MatchingLabels{discoveryv1.LabelServiceName: s.Spec.Source.Service.Name})
}
