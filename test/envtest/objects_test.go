// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build envtest

package envtest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead/fairlead/api/v1alpha1"
)

// read reads the objects of a file.
func read(file string) ([]*unstructured.Unstructured, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var objects []*unstructured.Unstructured
	for decoder := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(text), 4096); ; {
		o := &unstructured.Unstructured{}
		if err := decoder.Decode(&o.Object); errors.Is(err, io.EOF) {
			return objects, nil
		} else if err != nil {
			return nil, err
		}
		if len(o.Object) > 0 {
			objects = append(objects, o)
		}
	}
}

// space is a namespace of a test's own.
type space struct {
	t    *testing.T
	c    *cluster
	name string
}

// space makes one. A test that runs again gets another.
func (c *cluster) space(t *testing.T, suffix ...string) *space {
	t.Helper()
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: namespaceOf(t) + "-"}}
	for _, s := range suffix {
		ns.GenerateName += s + "-"
	}
	if err := c.admin.Create(t.Context(), ns); err != nil {
		t.Fatal(err)
	}
	s := &space{t: t, c: c, name: ns.Name}
	return s
}

func (s *space) create(objects ...client.Object) {
	s.t.Helper()
	for _, o := range objects {
		o.SetNamespace(s.name)
		if err := s.c.admin.Create(s.t.Context(), o); err != nil {
			s.t.Fatal(err)
		}
	}
}

func (s *space) delete(objects ...client.Object) {
	s.t.Helper()
	for _, o := range objects {
		if err := s.c.admin.Delete(s.t.Context(), o); err != nil {
			s.t.Fatal(err)
		}
	}
}

// update changes an object as it stands.
func (s *space) update(o client.Object, change func()) {
	s.t.Helper()
	s.get(o)
	change()
	if err := s.c.admin.Update(s.t.Context(), o); err != nil {
		s.t.Fatal(err)
	}
}

func (s *space) get(o client.Object) {
	s.t.Helper()
	if err := s.c.admin.Get(s.t.Context(), client.ObjectKeyFromObject(o), o); err != nil {
		s.t.Fatal(err)
	}
}

// full is the name that clients know a service by.
func (s *space) full(name string) string { return s.name + "/" + name }

// rpcPort is the port of the endpoints that slices name.
const rpcPort = 8972

// kubeService has no address of its own, of which a cluster has only so many.
func kubeService(name string) *corev1.Service {
	return &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec:       corev1.ServiceSpec{ClusterIP: corev1.ClusterIPNone, Ports: []corev1.ServicePort{{Name: "rpc", Port: rpcPort, Protocol: corev1.ProtocolTCP}}},
	}
}

func rpcService(name string, methods ...v1alpha1.RPCMethod) *v1alpha1.RPCService {
	port := "rpc"
	return &v1alpha1.RPCService{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: v1alpha1.RPCServiceSpec{
			Source:  v1alpha1.ServiceSource{Type: v1alpha1.SourceService, Service: &v1alpha1.ServiceReference{Name: name, Port: &port}},
			Methods: methods,
		},
	}
}

func idempotent(name string) v1alpha1.RPCMethod {
	how := v1alpha1.Idempotent
	return v1alpha1.RPCMethod{Name: v1alpha1.MethodName(name), Idempotency: &how}
}

// slice is one of a Service, as its controller would write it.
func slice(name, service string, endpoints ...discoveryv1.Endpoint) *discoveryv1.EndpointSlice {
	return sliceAt(name, service, rpcPort, endpoints...)
}

func sliceAt(name, service string, port int32, endpoints ...discoveryv1.Endpoint) *discoveryv1.EndpointSlice {
	portName, tcp := "rpc", corev1.ProtocolTCP
	return &discoveryv1.EndpointSlice{
		ObjectMeta:  metav1.ObjectMeta{Name: name, Labels: map[string]string{discoveryv1.LabelServiceName: service}},
		AddressType: discoveryv1.AddressTypeIPv4,
		Ports:       []discoveryv1.EndpointPort{{Name: &portName, Port: &port, Protocol: &tcp}},
		Endpoints:   endpoints,
	}
}

// pod is the endpoint of a Pod with that number: 10.1.x.y.
func pod(n int) discoveryv1.Endpoint {
	yes := true
	return discoveryv1.Endpoint{
		Addresses:  []string{fmt.Sprintf("10.1.%d.%d", n/250, n%250+1)},
		Conditions: discoveryv1.EndpointConditions{Ready: &yes, Serving: &yes},
		TargetRef:  &corev1.ObjectReference{Kind: "Pod", Name: fmt.Sprintf("pod-%d", n), UID: types.UID(fmt.Sprintf("uid-%d", n))},
	}
}

func conditioned(e discoveryv1.Endpoint, ready, serving, terminating bool) discoveryv1.Endpoint {
	e.Conditions = discoveryv1.EndpointConditions{Ready: &ready, Serving: &serving, Terminating: &terminating}
	return e
}

func callPolicy(name, target string, change func(*v1alpha1.RPCCallPolicySpec)) *v1alpha1.RPCCallPolicy {
	p := &v1alpha1.RPCCallPolicy{ObjectMeta: metav1.ObjectMeta{Name: name}}
	p.Spec.TargetRefs = []v1alpha1.CallTargetRef{{TargetRef: targetRef(target)}}
	change(&p.Spec)
	return p
}

func targetRef(name string) v1alpha1.TargetRef {
	return v1alpha1.TargetRef{Group: v1alpha1.GroupName, Kind: v1alpha1.KindRPCService, Name: name}
}

// timeout sets a policy's.
func timeout(d v1alpha1.Duration) func(*v1alpha1.RPCCallPolicySpec) {
	return func(s *v1alpha1.RPCCallPolicySpec) { s.Timeout = &d }
}
