// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build envtest

package envtest

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/go-logr/logr/funcr"
	"github.com/prometheus/client_golang/prometheus"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"
	"k8s.io/klog/v2"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"

	"github.com/fairlead/fairlead/api/v1alpha1"
	"github.com/fairlead/fairlead/controllers"
)

// operatorUser is who the operator is at the API server.
const operatorUser = "operator"

// cluster is an API server with our definitions, and two users of it: an
// administrator, and one that has the operator's rights.
type cluster struct {
	env      *envtest.Environment
	admin    client.Client
	operator *rest.Config
	// kubeconfig is the operator's, as a file.
	kubeconfig []byte
}

// common is the cluster of those tests that do not break theirs.
var common *cluster

func TestMain(m *testing.M) {
	os.Exit(runTests(m))
}

func runTests(m *testing.M) int {
	if os.Getenv("KUBEBUILDER_ASSETS") == "" {
		fmt.Fprintln(os.Stderr, "KUBEBUILDER_ASSETS names no folder with etcd and kube-apiserver; make test-envtest builds them and runs these tests")
		return 1
	}
	ctrl.SetLogger(logr.Discard())
	klog.SetLogger(logr.Discard())
	var err error
	if common, err = startCluster(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	code := m.Run()
	if err := common.env.Stop(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return code
}

// ownCluster is one that a test may break.
func ownCluster(t *testing.T, change ...func(*envtest.Environment)) *cluster {
	t.Helper()
	c, err := startCluster(t.Context(), change...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.env.Stop(); err != nil {
			t.Error(err)
		}
	})
	return c
}

func startCluster(ctx context.Context, change ...func(*envtest.Environment)) (*cluster, error) {
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{
		v1alpha1.AddToScheme, corev1.AddToScheme, discoveryv1.AddToScheme, rbacv1.AddToScheme, coordinationv1.AddToScheme,
		apiextensionsv1.AddToScheme,
	} {
		if err := add(scheme); err != nil {
			return nil, err
		}
	}
	c := &cluster{env: &envtest.Environment{
		CRDDirectoryPaths: []string{root("config", "crd", "bases")}, ErrorIfCRDPathMissing: true, Scheme: scheme,
	}}
	for _, f := range change {
		f(c.env)
	}
	config, err := c.env.Start()
	if err != nil {
		return nil, err
	}
	config.QPS, config.Burst = 1000, 1000
	if c.admin, err = client.New(config, client.Options{Scheme: scheme}); err != nil {
		return nil, err
	}
	user, err := c.env.AddUser(envtest.User{Name: operatorUser}, nil)
	if err != nil {
		return nil, err
	}
	c.operator = user.Config()
	if c.kubeconfig, err = user.KubeConfig(); err != nil {
		return nil, err
	}
	return c, c.grant(ctx)
}

// grant gives the operator the rights of config/rbac.
func (c *cluster) grant(ctx context.Context) error {
	system := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "fairlead-system"}}
	if err := c.admin.Create(ctx, system); err != nil {
		return err
	}
	for _, file := range []string{"service_account.yaml", "role.yaml", "role_binding.yaml"} {
		objects, err := read(root("config", "rbac", file))
		if err != nil {
			return err
		}
		for _, o := range objects {
			switch o.GetKind() {
			case "ClusterRoleBinding", "RoleBinding":
				o.Object["subjects"] = []any{map[string]any{"apiGroup": rbacv1.GroupName, "kind": "User", "name": operatorUser}}
			}
			if err := c.admin.Create(ctx, o); err != nil {
				return fmt.Errorf("%s: %w", file, err)
			}
		}
	}
	return nil
}

func root(parts ...string) string {
	return filepath.Join(append([]string{"..", ".."}, parts...)...)
}

// replica is an operator that runs in this process.
type replica struct {
	address string
	metrics *prometheus.Registry
	stop    context.CancelFunc
	done    chan error // has room for Run's result
}

// run starts an operator, and has it stopped when the test ends.
func (c *cluster) run(t *testing.T, change ...func(*controllers.Options)) *replica {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	r := &replica{metrics: prometheus.NewRegistry(), stop: stop, done: make(chan error, 1)}
	address, own := make(chan string, 1), &peers{}
	o := controllers.Options{
		Config: c.operator, RegistryAddress: "127.0.0.1:0", Metrics: r.metrics, Log: testLog(t),
		LeaseName: "status-" + namespaceOf(t), DrainTimeout: 2 * time.Second,
		LeaseDuration: 3 * time.Second, RenewDeadline: 2 * time.Second, RetryPeriod: 250 * time.Millisecond,
		Peers:     own.get,
		Listening: func(a net.Addr) { own.set(a.String()); address <- a.String() },
	}
	for _, f := range change {
		f(&o)
	}
	go func() { r.done <- controllers.Run(ctx, o) }()
	t.Cleanup(func() { r.end(t) })
	select {
	case r.address = <-address:
	case err := <-r.done:
		r.done <- err
		t.Fatalf("the operator ended: %v", err)
	case <-time.After(patience):
		t.Fatal("the operator does not listen")
	}
	return r
}

// end stops the operator and waits for it; again does nothing.
func (r *replica) end(t *testing.T) {
	t.Helper()
	r.stop()
	select {
	case err := <-r.done:
		r.done <- nil
		if err != nil {
			t.Errorf("the operator ended with: %v", err)
		}
	case <-time.After(patience):
		t.Error("the operator does not end")
	}
}

// freeAddress gives an address at which nobody listens.
func freeAddress(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return listener.Addr().String()
}

// probe asks as the kubelet does.
func probe(t *testing.T, address, path string) int {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+address+path, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return 0
	}
	defer response.Body.Close()
	return response.StatusCode
}

// value sums a metric over its series, or over those with a label's value.
func (r *replica) value(t *testing.T, metric string, label ...string) float64 {
	t.Helper()
	families, err := r.metrics.Gather()
	if err != nil {
		t.Fatal(err)
	}
	sum := 0.0
	for _, f := range families {
		if f.GetName() != metric {
			continue
		}
		for _, m := range f.GetMetric() {
			fits := len(label) == 0
			for _, l := range m.GetLabel() {
				fits = fits || l.GetValue() == label[0]
			}
			if fits {
				sum += m.GetCounter().GetValue() + m.GetGauge().GetValue()
			}
		}
	}
	return sum
}

// patience is how long a test waits for what must come.
const patience = 30 * time.Second

// eventually waits until check has nothing to complain about.
func eventually(t *testing.T, check func() error) {
	t.Helper()
	within(t, patience, check)
}

func within(t *testing.T, limit time.Duration, check func() error) {
	t.Helper()
	deadline := time.NewTimer(limit)
	defer deadline.Stop()
	poll := time.NewTicker(10 * time.Millisecond)
	defer poll.Stop()
	for {
		err := check()
		if err == nil {
			return
		}
		select {
		case <-poll.C:
		case <-deadline.C:
			t.Fatalf("still not so after %s: %v", limit, err)
		}
	}
}

// testLog writes to the test's log, with FAIRLEAD_TEST_LOG set.
func testLog(t *testing.T) logr.Logger {
	if os.Getenv("FAIRLEAD_TEST_LOG") == "" {
		return logr.Discard()
	}
	name := t.Name()
	return funcr.New(func(prefix, args string) { fmt.Fprintln(os.Stderr, name, time.Now().Format("05.000"), prefix, args) }, funcr.Options{})
}

// namespaceOf names a test's namespace.
func namespaceOf(t *testing.T) string {
	return strings.ToLower(strings.NewReplacer("/", "-", "_", "-").Replace(t.Name()))
}
