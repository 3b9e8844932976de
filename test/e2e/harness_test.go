// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/kubernetes"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

const (
	// operatorSpace is where the operator is installed, space where the services
	// of the scenarios are.
	operatorSpace = "fairlead-system"
	space         = "fairlead-e2e"
	// The images as make e2e-build names them.
	operatorImage = "fairlead.test/operator"
	workloadImage = "fairlead.test/workload:e2e"
	// rate is the load under which scenarios run, in calls per second.
	rate = 800
	// patience is how long things may take that a busy machine does.
	patience = 3 * time.Minute
	// often is how often it is looked whether something has happened.
	often = 100 * time.Millisecond
)

// cluster is the cluster under test, for one test.
type cluster struct {
	testing.TB
	kube    kubernetes.Interface
	objects client.Client
	// bin has the programs and images, root is the repository.
	bin, root string
	// said is the first line of what the test found wrong, for a summary.
	said *string
}

// Errorf is that of the test, and kept for the summary.
func (c *cluster) Errorf(format string, args ...any) {
	c.Helper()
	c.note(fmt.Sprintf(format, args...))
	c.TB.Errorf(format, args...)
}

// Fatalf is that of the test, and kept for the summary.
func (c *cluster) Fatalf(format string, args ...any) {
	c.Helper()
	c.note(fmt.Sprintf(format, args...))
	c.TB.Fatalf(format, args...)
}

// Fatal is that of the test, and kept for the summary.
func (c *cluster) Fatal(args ...any) {
	c.Helper()
	c.note(fmt.Sprint(args...))
	c.TB.Fatal(args...)
}

func (c *cluster) note(text string) {
	if c.said != nil && *c.said == "" {
		*c.said, _, _ = strings.Cut(strings.TrimSpace(text), "\n")
	}
}

// newCluster connects to the cluster that KUBECONFIG names.
func newCluster(t *testing.T) *cluster {
	t.Helper()
	ctrl.SetLogger(logr.Discard())
	config, err := ctrl.GetConfig()
	if err != nil {
		t.Fatal(err)
	}
	config.QPS, config.Burst = 100, 200
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	c := &cluster{TB: t, bin: filepath.Dir(self), root: filepath.Dir(filepath.Dir(filepath.Dir(self)))}
	if c.kube, err = kubernetes.NewForConfig(config); err != nil {
		t.Fatal(err)
	}
	if c.objects, err = client.New(config, client.Options{}); err != nil {
		t.Fatal(err)
	}
	return c
}

// in is the same cluster for a test below.
func (c *cluster) in(t *testing.T) *cluster {
	d := *c
	d.TB = t
	return &d
}

// figures prints what a scenario found.
func (c *cluster) figures(format string, args ...any) {
	c.Helper()
	fmt.Printf("e2e: "+format+"\n", args...)
}

// run runs a program and returns its standard output.
func (c *cluster) run(stdin, name string, args ...string) string {
	c.Helper()
	out, err := c.try(stdin, name, args...)
	if err != nil {
		c.Fatal(err)
	}
	return out
}

func (c *cluster) try(stdin, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(c.Context(), name, args...)
	cmd.Stdin = strings.NewReader(stdin)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		return out.String(), fmt.Errorf("%s %s: %w\n%s%s", name, strings.Join(args, " "), err, &out, &errs)
	}
	return out.String(), nil
}

// helm runs Helm, as users do.
func (c *cluster) helm(args ...string) string {
	c.Helper()
	return c.run("", filepath.Join(c.bin, "helm"), args...)
}

// eventually waits until check is content.
func (c *cluster) eventually(limit time.Duration, what string, check func() error) {
	c.Helper()
	ctx, cancel := context.WithTimeout(c.Context(), limit)
	defer cancel()
	ticker := time.NewTicker(often)
	defer ticker.Stop()
	for {
		err := check()
		if err == nil {
			return
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			c.Fatalf("%s: not within %s: %v", what, limit, err)
		}
	}
}

// manifest reads a file of testdata; old and new strings replace each other.
func (c *cluster) manifest(name string, replace ...string) string {
	c.Helper()
	text, err := os.ReadFile(filepath.Join(c.root, "test/e2e/testdata", name))
	if err != nil {
		c.Fatal(err)
	}
	return strings.NewReplacer(append(replace, "IMAGE", workloadImage)...).Replace(string(text))
}

// injected is a manifest with what a Pod needs to find the registry.
func (c *cluster) injected(name string, replace ...string) string {
	c.Helper()
	return c.run(c.manifest(name, replace...), filepath.Join(c.bin, "fairlead"), "inject", "-f", "-")
}

// apply applies manifests to the scenarios' namespace.
func (c *cluster) apply(text string) {
	c.Helper()
	if err := c.tryApply(text); err != nil {
		c.Fatal(err)
	}
}

func (c *cluster) tryApply(text string) error {
	decoder := yaml.NewYAMLOrJSONDecoder(strings.NewReader(text), 4096)
	for {
		var object unstructured.Unstructured
		if err := decoder.Decode(&object); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		if len(object.Object) == 0 {
			continue
		}
		object.SetNamespace(space)
		err := c.objects.Apply(c.Context(), client.ApplyConfigurationFromUnstructured(&object), client.FieldOwner("e2e"), client.ForceOwnership)
		if err != nil {
			return fmt.Errorf("%s %s: %w", object.GetKind(), object.GetName(), err)
		}
	}
}

// get reads an object of ours from the scenarios' namespace.
func (c *cluster) get(kind, name string) *unstructured.Unstructured {
	c.Helper()
	var object unstructured.Unstructured
	object.SetAPIVersion("rpc.fairlead.dev/v1alpha1")
	object.SetKind(kind)
	if err := c.objects.Get(c.Context(), client.ObjectKey{Namespace: space, Name: name}, &object); err != nil {
		c.Fatal(err)
	}
	return &object
}

// pods lists the Pods with that name label, those that end included.
func (c *cluster) pods(namespace, selector string) []corev1.Pod {
	c.Helper()
	list, err := c.kube.CoreV1().Pods(namespace).List(c.Context(), metav1.ListOptions{LabelSelector: selector})
	if err != nil {
		c.Fatal(err)
	}
	return list.Items
}

// rolledOut waits until a Deployment is as it should be, and the Pods of before
// are gone.
func (c *cluster) rolledOut(namespace, name string) {
	c.Helper()
	c.eventually(patience, "rollout of "+name, func() error {
		d, err := c.kube.AppsV1().Deployments(namespace).Get(c.Context(), name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		want, s := *d.Spec.Replicas, d.Status
		if s.ObservedGeneration < d.Generation || s.UpdatedReplicas != want || s.Replicas != want || s.AvailableReplicas != want {
			return fmt.Errorf("of %d, %d are new, %d are available, %d are there", want, s.UpdatedReplicas, s.AvailableReplicas, s.Replicas)
		}
		pods := c.pods(namespace, metav1.FormatLabelSelector(d.Spec.Selector))
		if len(pods) != int(want) {
			return fmt.Errorf("%d Pods are there, want %d", len(pods), want)
		}
		for i := range pods {
			if !ready(&pods[i]) {
				return fmt.Errorf("%s is not ready", pods[i].Name)
			}
		}
		return nil
	})
}

// ready says whether a Pod is, and stays.
func ready(pod *corev1.Pod) bool {
	return pod.DeletionTimestamp == nil && slices.ContainsFunc(pod.Status.Conditions, func(c corev1.PodCondition) bool {
		return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
	})
}

// restart has all Pods of a Deployment replaced, as kubectl rollout restart does.
func (c *cluster) restart(namespace, name string, n int) {
	c.Helper()
	patch := fmt.Sprintf(`{"spec":{"template":{"metadata":{"annotations":{"e2e/restart":"%d-%d"}}}}}`, time.Now().Unix(), n)
	c.patchDeployment(namespace, name, patch)
}

func (c *cluster) scale(namespace, name string, replicas int) {
	c.Helper()
	c.patchDeployment(namespace, name, fmt.Sprintf(`{"spec":{"replicas":%d}}`, replicas))
}

func (c *cluster) patchDeployment(namespace, name, patch string) {
	c.Helper()
	_, err := c.kube.AppsV1().Deployments(namespace).Patch(c.Context(), name, "application/strategic-merge-patch+json", []byte(patch), metav1.PatchOptions{})
	if err != nil {
		c.Fatal(err)
	}
}

// ask asks a Pod by HTTP, through the API server.
func (c *cluster) ask(namespace, pod, path string) ([]byte, error) {
	return c.kube.CoreV1().Pods(namespace).ProxyGet("http", pod, "8080", path, nil).DoRaw(c.Context())
}

func (c *cluster) askJSON(pod, path string, into any) error {
	body, err := c.ask(space, pod, path)
	if err != nil {
		return err
	}
	return json.Unmarshal(body, into)
}
