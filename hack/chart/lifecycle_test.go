// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build envtest

package chart

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"slices"
	"strings"
	"testing"

	"helm.sh/helm/v3/pkg/action"
	"helm.sh/helm/v3/pkg/chart"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

const definitionsRelease = "fairlead-crds"

// atVersion gives the chart of the definitions as if it were of a version; from
// 0.2.0 on RPCService has one field more.
func atVersion(t *testing.T, version string) *chart.Chart {
	t.Helper()
	c := load(t, "fairlead-crds")
	c.Metadata.Version = version
	if version >= "0.2.0" {
		for _, file := range c.Templates {
			if file.Name != "templates/rpcservices.yaml" {
				continue
			}
			const before = "\n              conditions:\n"
			text := strings.Replace(string(file.Data), before, "\n              novelty:\n                type: string"+before, 1)
			if text == string(file.Data) {
				t.Fatal("the definition of RPCService has no status.conditions where this test looks for it")
			}
			file.Data = []byte(text)
		}
	}
	return c
}

// TestDefinitionsGoForwardOnly takes the chart of the definitions through its
// life: no rollback and no older chart brings an older definition, the release
// is not stuck after the attempt, and uninstalling leaves definitions and
// objects exactly as they were.
func TestDefinitionsGoForwardOnly(t *testing.T) {
	s, err := startServer(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.env.Stop(); err != nil {
			t.Error(err)
		}
	})
	install := func(c *chart.Chart) error {
		a := action.NewInstall(s.helm(t))
		a.ReleaseName, a.Namespace = definitionsRelease, namespace
		_, err := a.RunWithContext(t.Context(), c, nil)
		return err
	}
	upgrade := func(c *chart.Chart) error {
		a := action.NewUpgrade(s.helm(t))
		a.Namespace = namespace
		_, err := a.RunWithContext(t.Context(), definitionsRelease, c, nil)
		return err
	}

	if err := install(atVersion(t, "0.1.0")); err != nil {
		t.Fatal(err)
	}
	objects := s.samples(t)
	before := s.texts(t, objects)
	if err := upgrade(atVersion(t, "0.2.0")); err != nil {
		t.Fatal(err)
	}
	s.wantNovelty(t, true)
	// Policies are obeyed a moment after they were made.
	eventually(t, func() error {
		o := s.definition(t)
		o.SetAnnotations(nil)
		if err := s.client.Update(t.Context(), o, client.DryRunAll); err == nil {
			return errors.New("the number may be taken off")
		}
		return nil
	})

	back := action.NewRollback(s.helm(t))
	back.Version = 1
	if err := back.Run(definitionsRelease); err == nil || !strings.Contains(err.Error(), "older than those in the cluster") {
		t.Errorf("helm rollback: %v", err)
	}
	if err := upgrade(atVersion(t, "0.1.9")); err == nil || !strings.Contains(err.Error(), "older than those in the cluster") {
		t.Errorf("helm upgrade to an older chart: %v", err)
	}
	s.wantNovelty(t, true)
	if err := upgrade(atVersion(t, "0.2.1")); err != nil {
		t.Errorf("the release is stuck: %v", err)
	}

	if _, err := action.NewUninstall(s.helm(t)).Run(definitionsRelease); err != nil {
		t.Fatal(err)
	}
	s.wantNovelty(t, true)
	if after := s.texts(t, objects); !slices.Equal(before, after) {
		t.Errorf("objects changed:\n%s\n%s", before, after)
	}
	// The policy is gone, and forgotten a moment later; the chart looks for itself.
	eventually(t, func() error {
		o := s.definition(t)
		o.SetAnnotations(nil)
		return s.client.Update(t.Context(), o, client.DryRunAll)
	})
	if err := install(atVersion(t, "0.2.0")); err == nil || !strings.Contains(err.Error(), "older than those in the cluster") {
		t.Errorf("installing an older chart over what was kept: %v", err)
	}
	if err := install(atVersion(t, "0.2.1")); err != nil {
		t.Errorf("installing again over what was kept: %v", err)
	}
	if after := s.texts(t, objects); !slices.Equal(before, after) {
		t.Errorf("objects changed:\n%s\n%s", before, after)
	}
}

func (s *server) definition(t *testing.T) *unstructured.Unstructured {
	t.Helper()
	o := &unstructured.Unstructured{}
	o.SetAPIVersion("apiextensions.k8s.io/v1")
	o.SetKind("CustomResourceDefinition")
	if err := s.client.Get(t.Context(), client.ObjectKey{Name: "rpcservices.rpc.fairlead.dev"}, o); err != nil {
		t.Fatal(err)
	}
	return o
}

func (s *server) wantNovelty(t *testing.T, want bool) {
	t.Helper()
	text, err := json.Marshal(s.definition(t).Object)
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Contains(string(text), `"novelty"`); got != want {
		t.Errorf("the new field is in the definition: %v, want %v", got, want)
	}
}

// samples creates the objects of config/samples.
func (s *server) samples(t *testing.T) (objects []*unstructured.Unstructured) {
	t.Helper()
	for _, file := range []string{"rpcservice.yaml", "rpccallpolicy.yaml", "rpclimitpolicy.yaml"} {
		text, err := os.ReadFile(root("config", "samples", file))
		if err != nil {
			t.Fatal(err)
		}
		parsed, err := parse(string(text))
		if err != nil {
			t.Fatal(err)
		}
		objects = append(objects, parsed...)
	}
	for _, o := range objects {
		o.SetNamespace("default")
		eventually(t, func() error {
			err := s.client.Create(context.WithoutCancel(t.Context()), o)
			if apierrors.IsAlreadyExists(err) {
				return nil
			}
			return err
		})
	}
	return objects
}

// texts reads objects back, every byte.
func (s *server) texts(t *testing.T, objects []*unstructured.Unstructured) (out []string) {
	t.Helper()
	for _, o := range objects {
		got := &unstructured.Unstructured{}
		got.SetGroupVersionKind(o.GroupVersionKind())
		eventually(t, func() error { return s.client.Get(t.Context(), client.ObjectKeyFromObject(o), got) })
		text, err := json.Marshal(got.Object)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, string(text))
	}
	return out
}

// TestReleaseLeavesWhatIsNotIts installs, upgrades, rolls back, uninstalls and
// installs the operator's chart again: definitions, objects and the CA, which
// the operator makes, are never touched.
func TestReleaseLeavesWhatIsNotIts(t *testing.T) {
	s, err := startServer(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.env.Stop(); err != nil {
			t.Error(err)
		}
	})
	install := func(name string) {
		t.Helper()
		a := action.NewInstall(s.helm(t))
		a.ReleaseName, a.Namespace = name, namespace
		if _, err := a.RunWithContext(t.Context(), load(t, name), nil); err != nil {
			t.Fatalf("install %s: %v", name, err)
		}
	}
	install(definitionsRelease)
	objects := s.samples(t)
	authority := &unstructured.Unstructured{Object: map[string]any{"data": map[string]any{"tls.key": "AAAA"}}}
	authority.SetAPIVersion("v1")
	authority.SetKind("Secret")
	authority.SetName("fairlead-registry-ca")
	authority.SetNamespace(namespace)
	if err := s.client.Create(t.Context(), authority); err != nil {
		t.Fatal(err)
	}
	definition := s.definition(t)
	objects = append(objects, authority, definition)
	before := s.texts(t, objects)
	replicas := func() int64 {
		d := &unstructured.Unstructured{}
		d.SetAPIVersion("apps/v1")
		d.SetKind("Deployment")
		if err := s.client.Get(t.Context(), client.ObjectKey{Namespace: namespace, Name: "fairlead-manager"}, d); err != nil {
			return -1
		}
		return at(t, d, "spec", "replicas").(int64)
	}
	want := func(step string, n int64) {
		t.Helper()
		if got := replicas(); got != n {
			t.Errorf("%s: %d replicas, want %d", step, got, n)
		}
		if after := s.texts(t, objects); !slices.Equal(before, after) {
			t.Errorf("%s: objects changed:\n%s\n%s", step, before, after)
		}
	}

	install(releaseName)
	want("install", 2)
	upgrade := action.NewUpgrade(s.helm(t))
	upgrade.Namespace = namespace
	if _, err := upgrade.RunWithContext(t.Context(), releaseName, load(t, releaseName), values{"manager.replicas": 3}.tree()); err != nil {
		t.Fatal(err)
	}
	want("upgrade", 3)
	back := action.NewRollback(s.helm(t))
	back.Version = 1
	if err := back.Run(releaseName); err != nil {
		t.Fatal(err)
	}
	want("rollback", 2)
	if _, err := action.NewUninstall(s.helm(t)).Run(releaseName); err != nil {
		t.Fatal(err)
	}
	want("uninstall", -1)
	install(releaseName)
	want("reinstall", 2)
}
