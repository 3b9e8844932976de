// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build envtest

package chart

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"helm.sh/helm/v3/pkg/action"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/client-go/rest"
	"k8s.io/klog/v2"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
)

// server is an API server, and an administrator of it.
type server struct {
	env    *envtest.Environment
	client client.Client
	config *rest.Config
	// kubeconfig is a file, for Helm.
	kubeconfig string
	warnings   *warnings
}

// warnings are what the API server says beside its answers: deprecated
// versions, Pods that their namespace will refuse.
type warnings struct {
	mu    sync.Mutex
	texts []string
}

func (w *warnings) HandleWarningHeader(_ int, _ string, text string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.texts = append(w.texts, text)
}

func (w *warnings) take() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	texts := w.texts
	w.texts = nil
	return texts
}

// common is the server of those tests that leave it as it was: our definitions
// come from the chart, those of the Prometheus operator from its module.
var common *server

func TestMain(m *testing.M) {
	os.Exit(runTests(m))
}

func runTests(m *testing.M) int {
	if os.Getenv("KUBEBUILDER_ASSETS") == "" {
		fmt.Fprintln(os.Stderr, "KUBEBUILDER_ASSETS names no folder with etcd and kube-apiserver; hack/helm-lint.sh builds them and runs these tests")
		return 1
	}
	ctrl.SetLogger(logr.Discard())
	klog.SetLogger(logr.Discard())
	dir, err := os.MkdirTemp("", "fairlead-chart")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	prometheus, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/prometheus-operator/prometheus-operator").Output()
	if err == nil {
		common, err = startServer(context.Background(), dir, filepath.Join(strings.TrimSpace(string(prometheus)), "example", "prometheus-operator-crd"))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	code := m.Run()
	if err := common.env.Stop(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	for _, line := range notRun {
		fmt.Println("rendered, not run:", line)
	}
	return code
}

// notRun is what nothing here enforces or serves.
var notRun = []string{
	"Certificate: no cert-manager here; the API server does not know the kind",
	"NetworkPolicy: the API server takes it, nothing enforces it",
	"PodDisruptionBudget, topology spread, probes, priority class: the API server takes them, no scheduler or kubelet acts on them",
	"ServiceMonitor, PrometheusRule: valid for the Prometheus operator's definitions and PromQL; no Prometheus scrapes or alerts",
	"helm test: its Pod is valid; it runs in a cluster only",
}

// startServer starts one with the definitions in some files, and installs the
// chart fairlead-crds.
func startServer(ctx context.Context, dir string, folders ...string) (*server, error) {
	s := &server{env: &envtest.Environment{}, warnings: &warnings{}, kubeconfig: filepath.Join(dir, "kubeconfig")}
	for _, folder := range folders {
		for _, kind := range []string{"servicemonitors", "prometheusrules"} {
			s.env.CRDDirectoryPaths = append(s.env.CRDDirectoryPaths, filepath.Join(folder, "monitoring.coreos.com_"+kind+".yaml"))
		}
	}
	s.env.ErrorIfCRDPathMissing = true
	config, err := s.env.Start()
	if err != nil {
		return nil, err
	}
	config = rest.CopyConfig(config)
	config.QPS, config.Burst, config.WarningHandler = 1000, 1000, s.warnings
	s.config = config
	if s.client, err = client.New(config, client.Options{FieldValidation: metav1.FieldValidationStrict}); err != nil {
		return nil, err
	}
	user, err := s.env.AddUser(envtest.User{Name: "helm", Groups: []string{"system:masters"}}, nil)
	if err != nil {
		return nil, err
	}
	text, err := user.KubeConfig()
	if err != nil {
		return nil, err
	}
	if err := os.WriteFile(s.kubeconfig, text, 0o600); err != nil {
		return nil, err
	}
	// As config/manager makes it: Pods that are not hardened are refused.
	return s, s.client.Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{
		Name: namespace, Labels: map[string]string{"pod-security.kubernetes.io/enforce": "restricted", "pod-security.kubernetes.io/warn": "restricted"},
	}})
}

// helm gives what Helm's actions need.
func (s *server) helm(t *testing.T) *action.Configuration {
	t.Helper()
	flags := genericclioptions.NewConfigFlags(false)
	at := namespace
	flags.KubeConfig, flags.Namespace = &s.kubeconfig, &at
	c := new(action.Configuration)
	if err := c.Init(flags, namespace, "secret", func(string, ...any) {}); err != nil {
		t.Fatal(err)
	}
	return c
}

// try asks the server to take an object, and leaves nothing behind.
func (s *server) try(ctx context.Context, o *unstructured.Unstructured) error {
	return apply(ctx, s.client, o, client.FieldOwner("chart-test"), client.ForceOwnership, client.DryRunAll)
}

// apply leaves the object that it is given as it is.
func apply(ctx context.Context, c client.Client, o *unstructured.Unstructured, options ...client.ApplyOption) error {
	return c.Apply(ctx, client.ApplyConfigurationFromUnstructured(o.DeepCopy()), options...)
}

// eventually waits until check has nothing to complain about.
func eventually(t *testing.T, check func() error) {
	t.Helper()
	deadline, poll := time.NewTimer(30*time.Second), time.NewTicker(50*time.Millisecond)
	defer deadline.Stop()
	defer poll.Stop()
	for {
		err := check()
		if err == nil {
			return
		}
		select {
		case <-poll.C:
		case <-deadline.C:
			t.Fatalf("still not so: %v", err)
		}
	}
}
