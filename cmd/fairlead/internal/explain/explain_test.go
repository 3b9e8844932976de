// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package explain

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead/fairlead/api/v1alpha1"
	"github.com/fairlead/fairlead/internal/manifest"
)

var update = flag.Bool("update", false, "write testdata/*.golden anew")

var (
	arith = Key{Namespace: "shop", Name: "arith"}
	noon  = time.Date(2026, 5, 4, 12, 0, 0, 0, time.UTC)
)

// server is an API server with the objects of a folder.
type server struct {
	t       *testing.T
	objects []client.Object
	// forbidden are VERB RESOURCE NAMESPACE.
	forbidden []string
	asked     []string
}

// newServer has the objects of testdata/shop as an operator leaves them.
func newServer(t *testing.T) *server {
	t.Helper()
	set, findings, err := manifest.Load("testdata/shop")
	if err != nil || len(findings) > 0 {
		t.Fatal(findings, err)
	}
	s := &server{t: t}
	changed, _ := set.Since(manifest.Set{})
	for _, o := range changed {
		copied, ok := o.(runtime.Object).DeepCopyObject().(client.Object)
		if !ok {
			t.Fatalf("%T", o)
		}
		copied.SetCreationTimestamp(metav1.NewTime(noon.Add(-9 * 24 * time.Hour)))
		copied.SetGeneration(int64(len(copied.GetName())))
		s.objects = append(s.objects, copied)
	}
	service := find[*v1alpha1.RPCService](s, "arith")
	service.Status = v1alpha1.RPCServiceStatus{
		ObservedGeneration: service.Generation, Clients: &v1alpha1.ClientCount{Current: 11, Total: 12},
		Summary:    &v1alpha1.RPCServiceSummary{Endpoints: "1/2"},
		Conditions: []metav1.Condition{{Type: v1alpha1.ConditionReady, Status: metav1.ConditionTrue}},
	}
	ledger := find[*v1alpha1.RPCService](s, "ledger")
	ledger.Status = v1alpha1.RPCServiceStatus{ObservedGeneration: 5, Conditions: []metav1.Condition{
		{Type: v1alpha1.ConditionReady, Status: metav1.ConditionFalse, Reason: "UnresolvedRefs", Message: "Service shop/ledger does not exist"},
	}}
	return s
}

func find[T client.Object](s *server, name string) T {
	for _, o := range s.objects {
		if typed, ok := o.(T); ok && o.GetName() == name {
			return typed
		}
	}
	s.t.Fatalf("there is no %s", name)
	panic("unreachable")
}

func resourceOf(o runtime.Object) string {
	switch o.(type) {
	case *v1alpha1.RPCService, *v1alpha1.RPCServiceList:
		return "rpcservices"
	case *v1alpha1.RPCCallPolicy, *v1alpha1.RPCCallPolicyList:
		return "rpccallpolicies"
	case *v1alpha1.RPCLimitPolicy, *v1alpha1.RPCLimitPolicyList:
		return "rpclimitpolicies"
	case *corev1.Service, *corev1.ServiceList:
		return "services"
	case *discoveryv1.EndpointSlice, *discoveryv1.EndpointSliceList:
		return "endpointslices"
	default:
		return "namespaces"
	}
}

func (s *server) may(verb, resource, namespace string) error {
	asked := strings.TrimSpace(verb + " " + resource + " " + namespace)
	s.asked = append(s.asked, asked)
	if slices.Contains(s.forbidden, asked) {
		return apierrors.NewForbidden(schema.GroupResource{Resource: resource}, "", errors.New("no"))
	}
	return nil
}

func (s *server) Get(_ context.Context, key client.ObjectKey, into client.Object, _ ...client.GetOption) error {
	resource := resourceOf(into)
	if err := s.may("get", resource, key.Namespace); err != nil {
		return err
	}
	for _, o := range s.objects {
		if client.ObjectKeyFromObject(o) != key || resourceOf(o) != resource {
			continue
		}
		switch to := into.(type) {
		case *v1alpha1.RPCService:
			o.(*v1alpha1.RPCService).DeepCopyInto(to)
		case *corev1.Service:
			o.(*corev1.Service).DeepCopyInto(to)
		case *metav1.PartialObjectMetadata:
			o.(*metav1.PartialObjectMetadata).DeepCopyInto(to)
		default:
			s.t.Fatalf("get of a %T", into)
		}
		return nil
	}
	return apierrors.NewNotFound(schema.GroupResource{Resource: resource}, key.Name)
}

func (s *server) List(_ context.Context, into client.ObjectList, options ...client.ListOption) error {
	var o client.ListOptions
	o.ApplyOptions(options)
	resource := resourceOf(into)
	if err := s.may("list", resource, o.Namespace); err != nil {
		return err
	}
	if o.LabelSelector == nil {
		o.LabelSelector = labels.Everything()
	}
	var items []runtime.Object
	for _, object := range s.objects {
		if resourceOf(object) == resource && (o.Namespace == "" || o.Namespace == object.GetNamespace()) &&
			o.LabelSelector.Matches(labels.Set(object.GetLabels())) {
			items = append(items, object)
		}
	}
	return meta.SetList(into, items)
}

// golden compares with a file of testdata.
func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", name+".golden")
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), got); d != "" {
		t.Errorf("%s (-want +got):\n%s", file, d)
	}
}

func text(t *testing.T, c *Call) string {
	t.Helper()
	var b bytes.Buffer
	if err := c.WriteText(&b); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func asJSON(t *testing.T, v any) string {
	t.Helper()
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	return string(b) + "\n"
}

// ask answers a question out of a cluster.
func (s *server) ask(caller string, service Key, method string) (*Call, error) {
	s.t.Helper()
	w, err := (&Cluster{Reader: s}).Call(s.t.Context(), service, caller)
	if err != nil {
		return nil, err
	}
	return w.Call(Question{Caller: Key{Namespace: caller, Name: "checkout"}, Service: service, Method: method})
}

func (s *server) mustAsk(caller string, service Key, method string) *Call {
	s.t.Helper()
	c, err := s.ask(caller, service, method)
	if err != nil {
		s.t.Fatal(err)
	}
	return c
}

func TestCall(t *testing.T) {
	for name, q := range map[string]struct {
		caller, method string
	}{
		"web-mul":        {"web", "Arith.Mul"},
		"billing-add":    {"billing", "Arith.Add"},
		"undeclared":     {"shop", "Arith.Mull"},
		"other-unmarked": {"other", "Arith.Mul"},
	} {
		t.Run(name, func(t *testing.T) {
			c := newServer(t).mustAsk(q.caller, arith, q.method)
			golden(t, name+".txt", text(t, c))
			golden(t, name+".json", asJSON(t, c))
		})
	}
}

// TestStaleStatus: the count of clients is not passed off as newer than it is.
func TestStaleStatus(t *testing.T) {
	s := newServer(t)
	find[*v1alpha1.RPCService](s, "arith").Status.ObservedGeneration = 4
	if got := text(t, s.mustAsk("web", arith, "Arith.Mul")); !strings.Contains(got, "which is of generation 4 and not 5") {
		t.Error(got)
	}
	find[*v1alpha1.RPCService](s, "arith").Status.Clients = nil
	if got := text(t, s.mustAsk("web", arith, "Arith.Mul")); !strings.Contains(got, "has no count of them") {
		t.Error(got)
	}
}

// TestPolicyOfOtherCallers: what is wrong with a policy for the callers of
// another namespace is nothing to this caller.
func TestPolicyOfOtherCallers(t *testing.T) {
	s := newServer(t)
	p := find[*v1alpha1.RPCCallPolicy](s, "platform").DeepCopy()
	callers := v1alpha1.AppliesToCallers
	p.Name, p.Spec.TargetRefs[0].AppliesTo = "upside-down", &callers
	s.objects = append(s.objects, p)
	for caller, want := range map[string]int{"shop": 1, "billing": 0} {
		if c := s.mustAsk(caller, arith, "Arith.Mul"); len(c.NoEffect) != want {
			t.Errorf("%s: %+v", caller, c.NoEffect)
		}
	}
}

// TestReadsLittle: a caller's question needs rights in two namespaces, and in no
// other.
func TestReadsLittle(t *testing.T) {
	s := newServer(t)
	s.mustAsk("web", arith, "Arith.Mul")
	want := []string{
		"get rpcservices shop", "list rpccallpolicies shop", "list rpccallpolicies web", "list rpclimitpolicies shop",
		"get services shop", "list endpointslices shop",
	}
	if d := cmp.Diff(want, s.asked); d != "" {
		t.Error(d)
	}
}

func TestRightsThatAreMissing(t *testing.T) {
	s := newServer(t)
	s.forbidden = []string{"list rpccallpolicies web", "list rpclimitpolicies shop", "get services shop", "list endpointslices shop"}
	golden(t, "rights.txt", text(t, s.mustAsk("web", arith, "Arith.Mul")))

	prices := Key{Namespace: "shop", Name: "prices"}
	s = newServer(t)
	s.forbidden = []string{"get namespaces"}
	if c := s.mustAsk("web", prices, "P.Get"); c.Subscription != Unknown || len(c.NotRead) != 1 || len(c.Fields) == 0 {
		t.Errorf("got %s", asJSON(t, c))
	}

	s = newServer(t)
	s.forbidden = []string{"get rpcservices shop"}
	if _, err := s.ask("web", arith, "Arith.Mul"); err == nil || !strings.Contains(err.Error(), "rpcservices.rpc.fairlead.dev in namespace shop") {
		t.Errorf("got %v", err)
	}
}

func TestWhoMaySubscribe(t *testing.T) {
	prices := Key{Namespace: "shop", Name: "prices"}
	namespace := func(name string, labels map[string]string) client.Object {
		return &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels}}
	}
	s := newServer(t)
	s.objects = append(s.objects, namespace("web", map[string]string{"team": "web"}), namespace("billing", nil))
	for caller, want := range map[string]string{"web": Allowed, "shop": Allowed, "billing": Refused, "nowhere": Refused} {
		c := s.mustAsk(caller, prices, "P.Get")
		if c.Subscription != want || (len(c.Fields) == 0) != (want == Refused) || (c.Digest == "") != (want == Refused) {
			t.Errorf("%s: %s", caller, asJSON(t, c))
		}
		if said := strings.Contains(text(t, c), "may not subscribe"); said != (want == Refused) {
			t.Errorf("%s: %s", caller, text(t, c))
		}
	}
}

func TestNotThere(t *testing.T) {
	s := newServer(t)
	ledger := Key{Namespace: "shop", Name: "ledger"}
	for _, c := range []struct {
		service Key
		method  string
		says    string
		near    []string
	}{
		{Key{Namespace: "shop", Name: "airth"}, "A.B", "no RPCService shop/airth", []string{"shop/arith"}},
		{Key{Namespace: "web", Name: "arith"}, "A.B", "no RPCService web/arith", []string{"shop/arith"}},
		{Key{Namespace: "web", Name: "zzz"}, "A.B", "there is shop/arith, shop/ledger", nil},
		{ledger, "Ledger.Pots", "it declares Ledger.Post", []string{"Ledger.Post"}},
	} {
		_, err := s.ask("shop", c.service, c.method)
		var missing *NotFoundError
		if !errors.As(err, &missing) || !slices.Equal(missing.Near, c.near) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s %s: %v", c.service, c.method, err)
		}
	}
	find[*v1alpha1.RPCService](s, "ledger").Spec.Source = v1alpha1.ServiceSource{Type: v1alpha1.SourceRegistered}
	var unserved *UnservedError
	if _, err := s.ask("shop", ledger, "Ledger.Post"); !errors.As(err, &unserved) || !strings.Contains(unserved.Why, "Registered") {
		t.Errorf("got %v", err)
	}
}

// TestFolder: manifests give what a cluster with the same objects gives, as far
// as it does not depend on statuses and generations.
func TestFolder(t *testing.T) {
	w, err := ReadFolder("testdata/shop")
	if err != nil {
		t.Fatal(err)
	}
	c, err := w.Call(Question{Caller: Key{Namespace: "web", Name: "checkout"}, Service: arith, Method: "Arith.Mul"})
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "folder.txt", text(t, c))
	inCluster := newServer(t).mustAsk("web", arith, "Arith.Mul")
	for i, f := range inCluster.Fields {
		if g := c.Fields[i]; g.Field != f.Field || g.Value != f.Value || g.SetBy.Name != f.SetBy.Name || len(g.InsteadOf) != len(f.InsteadOf) {
			t.Errorf("folder has %+v, cluster %+v", g, f)
		}
	}
	// Nobody knows the labels of namespaces here.
	w, err = ReadFolder("testdata/shop")
	if err != nil {
		t.Fatal(err)
	}
	c, err = w.Call(Question{Caller: Key{Namespace: "web", Name: "checkout"}, Service: Key{Namespace: "shop", Name: "prices"}, Method: "P.Get"})
	if err != nil || c.Subscription != Unknown || len(c.Fields) == 0 {
		t.Errorf("got %+v, %v", c, err)
	}

	file := filepath.Join(t.TempDir(), "x.yaml")
	if err := os.WriteFile(file, []byte("kind: RPCService\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	var broken *ManifestError
	if _, err := ReadFolder(file); !errors.As(err, &broken) || !strings.Contains(err.Error(), file+":1") {
		t.Errorf("got %v", err)
	}
}

func TestEndpoints(t *testing.T) {
	s := newServer(t)
	w, err := (&Cluster{Reader: s}).Endpoints(t.Context(), arith)
	if err != nil {
		t.Fatal(err)
	}
	e, err := w.Endpoints(arith, noon)
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := e.WriteText(&b); err != nil {
		t.Fatal(err)
	}
	golden(t, "endpoints.txt", b.String())
	golden(t, "endpoints.json", asJSON(t, e))
	if e.Count() != "1/2" || e.Digest != s.mustAsk("shop", arith, "Arith.Mul").Digest {
		t.Errorf("%s ready, digest %s", e.Count(), e.Digest)
	}

	s.forbidden = []string{"list endpointslices shop"}
	if _, err := (&Cluster{Reader: s}).Endpoints(t.Context(), arith); err == nil || !strings.Contains(err.Error(), "endpointslices.discovery.k8s.io") {
		t.Errorf("got %v", err)
	}
	s.forbidden = []string{"list rpccallpolicies shop"}
	w, err = (&Cluster{Reader: s}).Endpoints(t.Context(), arith)
	if err != nil {
		t.Fatal(err)
	}
	if e, err := w.Endpoints(arith, noon); err != nil || e.Digest != "" || len(e.NotRead) != 1 || len(e.Endpoints) != 6 {
		t.Errorf("got %+v, %v", e, err)
	}
}

// TestOnePodTwice: a Pod that is used is not said to be left out because of
// another slice that it stands in.
func TestOnePodTwice(t *testing.T) {
	s := newServer(t)
	first := find[*discoveryv1.EndpointSlice](s, "arith-1")
	second := find[*discoveryv1.EndpointSlice](s, "arith-2")
	second.Endpoints[0].TargetRef = first.Endpoints[0].TargetRef
	w, err := (&Cluster{Reader: s}).Endpoints(t.Context(), arith)
	if err != nil {
		t.Fatal(err)
	}
	e, err := w.Endpoints(arith, noon)
	if err != nil {
		t.Fatal(err)
	}
	if len(e.Endpoints) != 5 {
		t.Errorf("got %+v", e.Endpoints)
	}
}

// TestDocs: what docs/cli.md shows is what comes out.
func TestDocs(t *testing.T) {
	docs, err := os.ReadFile(filepath.Join("..", "..", "..", "..", "docs", "cli.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"web-mul.txt", "endpoints.txt"} {
		shown, err := os.ReadFile(filepath.Join("testdata", name+".golden"))
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(shown)) {
			if line != "\n" && !strings.Contains(string(docs), "    "+line) {
				t.Errorf("docs/cli.md does not show %q", line)
			}
		}
	}
}

// TestMassLoss: what is said of suspects and of those that drain depends on the
// others.
func TestMassLoss(t *testing.T) {
	s := newServer(t)
	slice := find[*discoveryv1.EndpointSlice](s, "arith-1")
	slice.Endpoints = slice.Endpoints[1:3]
	w, err := (&Cluster{Reader: s}).Endpoints(t.Context(), arith)
	if err != nil {
		t.Fatal(err)
	}
	e, err := w.Endpoints(arith, noon)
	if err != nil {
		t.Fatal(err)
	}
	if e.Endpoints[0].Why != "terminating, and used because none is ready" || !strings.HasPrefix(e.Endpoints[1].Why, "not ready, as most are") {
		t.Errorf("got %+v", e.Endpoints)
	}
}

func TestStatus(t *testing.T) {
	write := func(st *Status, err error) string {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		var b bytes.Buffer
		if err := st.WriteText(&b, noon); err != nil {
			t.Fatal(err)
		}
		return b.String()
	}
	s := newServer(t)
	st, err := (&Cluster{Reader: s}).StatusOf(t.Context(), nil, "shop", false)
	golden(t, "status.txt", write(st, err))
	golden(t, "status.json", asJSON(t, st))

	s.forbidden = []string{"list endpointslices shop"}
	st, err = (&Cluster{Reader: s}).StatusOf(t.Context(), []Key{arith}, "web", false)
	golden(t, "status-rights.txt", write(st, err))

	s.forbidden = []string{"list rpcservices"}
	if _, err := (&Cluster{Reader: s}).StatusOf(t.Context(), nil, "shop", true); err == nil || !strings.Contains(err.Error(), "rpcservices.rpc.fairlead.dev") {
		t.Errorf("got %v", err)
	}
	if _, err := (&Cluster{Reader: s}).StatusOf(t.Context(), []Key{{Namespace: "shop", Name: "airth"}}, "shop", false); err == nil {
		t.Error("found what is not there")
	}

	w, err := ReadFolder("testdata/shop")
	if err != nil {
		t.Fatal(err)
	}
	st, err = w.StatusIn("shop")
	golden(t, "status-folder.txt", write(st, err))
	if st, err = w.StatusIn("web"); err != nil || write(st, err) != "there is no RPCService\n" {
		t.Errorf("got %+v, %v", st, err)
	}
}
