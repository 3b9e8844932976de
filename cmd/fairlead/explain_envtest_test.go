// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build envtest

package main

import (
	"context"
	"encoding/json"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/klog/v2"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"

	"github.com/fairlead/fairlead/api/v1alpha1"
	"github.com/fairlead/fairlead/cmd/fairlead/internal/explain"
	"github.com/fairlead/fairlead/controllers"
	"github.com/fairlead/fairlead/internal/manifest"
	"github.com/fairlead/fairlead/rpcruntime"
)

// quiet is once for the process, since what a manager leaves running still logs
// when the next one starts.
var quiet = sync.OnceFunc(func() {
	ctrl.SetLogger(logr.Discard())
	klog.SetLogger(logr.Discard())
})

// apiServer is one without our definitions, as it is before an installation.
type apiServer struct {
	*envtest.Environment
	admin client.Client
}

func startAPIServer(t *testing.T) *apiServer {
	t.Helper()
	quiet()
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{v1alpha1.AddToScheme, corev1.AddToScheme, discoveryv1.AddToScheme, rbacv1.AddToScheme} {
		if err := add(scheme); err != nil {
			t.Fatal(err)
		}
	}
	a := &apiServer{Environment: &envtest.Environment{}}
	config, err := a.Start()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := a.Stop(); err != nil {
			t.Error(err)
		}
	})
	if a.admin, err = client.New(config, client.Options{Scheme: scheme}); err != nil {
		t.Fatal(err)
	}
	return a
}

// user gives the kubeconfig of a user with a role in namespaces.
func (a *apiServer) user(t *testing.T, name string, groups []string) string {
	t.Helper()
	user, err := a.AddUser(envtest.User{Name: name, Groups: groups}, nil)
	if err != nil {
		t.Fatal(err)
	}
	content, err := user.KubeConfig()
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(file, content, 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func (a *apiServer) create(t *testing.T, objects ...client.Object) {
	t.Helper()
	for _, o := range objects {
		if err := a.admin.Create(t.Context(), o); err != nil {
			t.Fatalf("%T %s: %v", o, o.GetName(), err)
		}
	}
}

// install does what an installation does, and applies the manifests of a shop.
func (a *apiServer) install(t *testing.T) {
	t.Helper()
	crds := envtest.CRDInstallOptions{Paths: []string{filepath.Join("..", "..", "config", "crd", "bases")}, ErrorIfPathMissing: true}
	if _, err := envtest.InstallCRDs(a.Config, crds); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"shop", "web", "billing", "fairlead-system"} {
		a.create(t, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}})
	}
	set, _, err := manifest.Load(shop)
	if err != nil {
		t.Fatal(err)
	}
	objects, _ := set.Since(manifest.Set{})
	for _, o := range objects {
		copied, ok := o.(runtime.Object).DeepCopyObject().(client.Object)
		if !ok {
			t.Fatalf("%T", o)
		}
		copied.SetUID("")
		copied.SetResourceVersion("")
		copied.SetGeneration(0)
		a.create(t, copied)
	}
}

// viewer lets a user read in one namespace, as the roles for people do.
func (a *apiServer) viewer(t *testing.T, user, namespace string) {
	t.Helper()
	read := func(group string, resources ...string) rbacv1.PolicyRule {
		return rbacv1.PolicyRule{APIGroups: []string{group}, Resources: resources, Verbs: []string{"get", "list", "watch"}}
	}
	a.create(t,
		&rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Name: "viewer", Namespace: namespace}, Rules: []rbacv1.PolicyRule{
			read(v1alpha1.GroupName, "rpcservices", "rpccallpolicies", "rpclimitpolicies"), read("", "services"), read("discovery.k8s.io", "endpointslices"),
		}},
		&rbacv1.RoleBinding{ObjectMeta: metav1.ObjectMeta{Name: "viewer", Namespace: namespace},
			Subjects: []rbacv1.Subject{{Kind: "User", Name: user, APIGroup: rbacv1.GroupName}},
			RoleRef:  rbacv1.RoleRef{Kind: "Role", Name: "viewer", APIGroup: rbacv1.GroupName}})
}

// TestExplainCluster asks an API server: before an installation, without an
// operator, with few rights, and beside an operator that serves the same.
func TestExplainCluster(t *testing.T) {
	a := startAPIServer(t)
	admin := a.user(t, "root", []string{"system:masters"})
	ask := func(kubeconfig, caller string, more ...string) []string {
		return append([]string{"explain", "--caller", caller, "shop/arith", "Arith.Mul", "--kubeconfig", kubeconfig}, more...)
	}
	fairlead(t, ask(admin, "web/checkout")...).says(t, exitFailed, "stderr", "has no rpcservices.rpc.fairlead.dev", "fairlead-crds")
	a.install(t)

	t.Setenv("KUBECONFIG", admin)
	fairlead(t, "explain", "--caller", "web/checkout", "shop/arith", "Arith.Mul").says(t, exitOK, "stdout",
		"retry.perTryTimeout   50ms", "RPCCallPolicy web/checkout-fast (gen 1)", "100ms (RPCCallPolicy shop/arith)",
		"overrides of RPCCallPolicy shop/platform (gen 1)", "5000 per 1m", "RPCCallPolicy web/typo (gen 1)", "has no count of them")
	fairlead(t, "explain", "--caller", "web/checkout", "shop/airth", "Arith.Mul").says(t, exitFailed, "stderr", "did you mean shop/arith?")
	fairlead(t, "endpoints", "shop/arith").says(t, exitOK, "stdout", "from API objects", "arith-4", "Skipped")
	fairlead(t, "status", "-A").says(t, exitOK, "stdout", "shop/arith    Unknown", "the operator has not looked at it yet")

	p := &v1alpha1.RPCCallPolicy{}
	if err := a.admin.Get(t.Context(), client.ObjectKey{Namespace: "shop", Name: "arith"}, p); err != nil {
		t.Fatal(err)
	}
	sooner := v1alpha1.Duration("200ms")
	p.Spec.Timeout = &sooner
	if err := a.admin.Update(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	fairlead(t, ask(admin, "web/checkout")...).says(t, exitOK, "stdout", "200ms", "RPCCallPolicy shop/arith (gen 2)")

	fairlead(t, ask(admin, "web/checkout", "--context", "elsewhere")...).says(t, exitFailed, "stderr", "elsewhere")

	few := a.user(t, "few", nil)
	fairlead(t, ask(few, "web/checkout")...).says(t, exitFailed, "stderr", "you may not get rpcservices.rpc.fairlead.dev in namespace shop")
	a.viewer(t, "few", "shop")
	eventually(t, func() string { return "the role is not in force" }, func() bool {
		return fairlead(t, ask(few, "web/checkout")...).code == exitOK
	})
	fairlead(t, ask(few, "web/checkout")...).says(t, exitOK, "stdout",
		"retry.perTryTimeout   100ms", "you may not list rpccallpolicies.rpc.fairlead.dev in namespace web")

	a.askReplicas(t, admin, few, ask)
	a.besideOperator(t, ask(admin, "web/checkout", "-o", "json"))
}

// askReplicas has replicas that cannot be asked, for one reason after the other.
// There is no kubelet here that would forward a port.
func (a *apiServer) askReplicas(t *testing.T, admin, few string, ask func(kubeconfig, caller string, more ...string) []string) {
	t.Helper()
	const count = "the count of clients is that of the status"
	ofAdmin := ask(admin, "web/checkout")
	fairlead(t, ofAdmin...).says(t, exitOK, "stdout", "no replica of the operator is there: namespace fairlead-system", count)
	elsewhere := ask(admin, "web/checkout", "--operator-namespace", "line")
	fairlead(t, elsewhere...).says(t, exitOK, "stdout", "namespace line has no Pod", "retry.perTryTimeout")

	forbidden := "you may not list pods in namespace fairlead-system (the role fairlead-explain there has that right)"
	fairlead(t, ask(few, "web/checkout")...).says(t, exitOK, "stdout", forbidden, count, "retry.perTryTimeout")
	fairlead(t, "status", "shop/arith", "--kubeconfig", few).says(t, exitOK, "stdout", forbidden, count, "shop/arith")

	replica := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "fairlead-system", Name: "fairlead-manager-1", Labels: map[string]string{
			"app.kubernetes.io/name": "fairlead", "app.kubernetes.io/component": "manager",
		}},
		Spec: corev1.PodSpec{
			NodeName: "nowhere", Containers: []corev1.Container{{
				Name: "manager", Image: "x", Ports: []corev1.ContainerPort{{Name: "admin", ContainerPort: 8082}},
			}},
		},
	}
	a.create(t, replica)
	replica.Status = corev1.PodStatus{Phase: corev1.PodRunning, Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}}
	if err := a.admin.Status().Update(t.Context(), replica); err != nil {
		t.Fatal(err)
	}
	fairlead(t, ofAdmin...).says(t, exitOK, "stdout", "no replica of the operator answers: fairlead-manager-1 ", "nowhere", count)
	var answer explain.Call
	got := fairlead(t, ask(admin, "web/checkout", "-o", "json")...)
	if err := json.Unmarshal([]byte(got.out), &answer); err != nil || answer.Callers != nil || !strings.Contains(answer.NotAsked, "fairlead-manager-1") || len(answer.Fields) == 0 {
		t.Errorf("%v\n%s", err, got.out)
	}
	// Without the right to forward, one may list.
	a.create(t,
		&rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Namespace: "fairlead-system", Name: "lists"}, Rules: []rbacv1.PolicyRule{
			{APIGroups: []string{""}, Resources: []string{"pods"}, Verbs: []string{"list"}},
		}},
		&rbacv1.RoleBinding{
			ObjectMeta: metav1.ObjectMeta{Namespace: "fairlead-system", Name: "lists"},
			RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: "lists"},
			Subjects:   []rbacv1.Subject{{Kind: rbacv1.UserKind, APIGroup: rbacv1.GroupName, Name: "few"}},
		})
	said := ""
	eventually(t, func() string { return said }, func() bool {
		said = fairlead(t, ask(few, "web/checkout")...).out
		return strings.Contains(said, "you may not create pods/portforward in namespace fairlead-system (the role") && strings.Contains(said, count)
	})
}

// besideOperator compares what is explained with what an operator serves a
// caller, and waits until it has counted it.
func (a *apiServer) besideOperator(t *testing.T, ask []string) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	address, ended := make(chan string, 1), make(chan error, 1)
	var own atomic.Pointer[[]string] // a replica finds itself among its peers
	own.Store(&[]string{})
	go func() {
		ended <- controllers.Run(ctx, controllers.Options{
			Config: a.Config, RegistryAddress: "127.0.0.1:0", Peers: func() []string { return *own.Load() }, Metrics: prometheus.NewRegistry(),
			CountInterval: 100 * time.Millisecond,
			Listening: func(at net.Addr) {
				own.Store(&[]string{at.String()})
				address <- at.String()
			},
		})
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	registry := <-address
	rt := newRuntime(t, rpcruntime.WithRegistry(registry), rpcruntime.WithNamespace("web"))
	caller := rt.NewClient("shop/arith")
	var answer explain.Call
	said := ""
	eventually(t, func() string { return said }, func() bool {
		said = fairlead(t, ask...).out
		answer = explain.Call{}
		return json.Unmarshal([]byte(said), &answer) == nil && answer.Clients != nil && answer.Clients.Current == 1 && answer.Clients.Total == 1
	})
	held := caller.Snapshot()
	if held == nil || held.Digest.Short() != answer.Digest {
		t.Errorf("the caller holds %+v, and what is explained is %s", held, answer.Digest)
	}
	if e := held.Effective("Arith.Mul"); len(e.Fields) != len(answer.Fields) || e.Fields[0].Value != answer.Fields[0].Value {
		t.Errorf("the caller goes by %+v, and what is explained is %+v", e.Fields, answer.Fields)
	}
	if got := fairlead(t, "status", "-n", "shop"); !strings.Contains(got.out, "True") || !strings.Contains(got.out, "1/1") {
		t.Errorf("status says\n%s%s", got.out, got.errOut)
	}
}
