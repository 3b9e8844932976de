// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package chart

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"helm.sh/helm/v3/pkg/action"
	"helm.sh/helm/v3/pkg/chart"
	"helm.sh/helm/v3/pkg/chart/loader"
	"helm.sh/helm/v3/pkg/chartutil"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/json"
	"k8s.io/apimachinery/pkg/util/yaml"
)

// The names that config/default has, so that both make the same objects.
const (
	releaseName = "fairlead"
	namespace   = "fairlead-system"
)

const admissionPolicy = "admissionregistration.k8s.io/v1/MutatingAdmissionPolicy"

func root(parts ...string) string {
	return filepath.Join(append([]string{"..", ".."}, parts...)...)
}

// values are those of a chart, by paths such as metrics.enabled.
type values map[string]any

// tree gives them as Helm takes them.
func (v values) tree() map[string]any {
	out := map[string]any{}
	for path, value := range v {
		at, keys := out, strings.Split(path, ".")
		for _, key := range keys[:len(keys)-1] {
			next, ok := at[key].(map[string]any)
			if !ok {
				next = map[string]any{}
				at[key] = next
			}
			at = next
		}
		at[keys[len(keys)-1]] = value
	}
	return out
}

func (v values) String() string {
	if len(v) == 0 {
		return "defaults"
	}
	var parts []string
	for _, path := range slices.Sorted(maps.Keys(v)) {
		parts = append(parts, fmt.Sprintf("%s=%v", path, v[path]))
	}
	return strings.Join(parts, " ")
}

// cluster is what Helm believes of one.
type cluster struct {
	version string
	serves  []string
}

// modern serves all that the charts ask for; oldest is the first that they take.
var (
	modern = cluster{"v1.36.0", []string{admissionPolicy, "rpc.fairlead.dev/v1alpha1/RPCService"}}
	oldest = cluster{"v1.33.0", nil}
)

// rendered is what a chart makes.
type rendered struct {
	objects []*unstructured.Unstructured
	// hooks are made by helm test.
	hooks []*unstructured.Unstructured
	notes string
}

// find gives the one object of that kind and name, or nil.
func (r *rendered) find(kind, name string) *unstructured.Unstructured {
	for _, o := range slices.Concat(r.objects, r.hooks) {
		if o.GetKind() == kind && o.GetName() == name {
			return o
		}
	}
	return nil
}

// kinds lists the objects as Kind/name, sorted.
func (r *rendered) kinds() []string {
	var out []string
	for _, o := range r.objects {
		out = append(out, o.GetKind()+"/"+o.GetName())
	}
	slices.Sort(out)
	return out
}

func load(t *testing.T, name string) *chart.Chart {
	t.Helper()
	c, err := loader.Load(root("charts", name))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// render makes a chart's objects as helm template does: values are checked by
// the schema, the cluster's version by kubeVersion.
func render(c *chart.Chart, v values, in cluster) (*rendered, error) {
	version, err := chartutil.ParseKubeVersion(in.version)
	if err != nil {
		return nil, err
	}
	install := action.NewInstall(&action.Configuration{Log: func(string, ...any) {}})
	install.DryRun, install.ClientOnly = true, true
	install.ReleaseName, install.Namespace = releaseName, namespace
	install.KubeVersion, install.APIVersions = version, in.serves
	release, err := install.Run(c, v.tree())
	if err != nil {
		return nil, err
	}
	out := &rendered{notes: release.Info.Notes}
	if out.objects, err = parse(release.Manifest); err != nil {
		return nil, err
	}
	for _, hook := range release.Hooks {
		objects, err := parse(hook.Manifest)
		if err != nil {
			return nil, err
		}
		out.hooks = append(out.hooks, objects...)
	}
	return out, nil
}

func mustRender(t *testing.T, name string, v values, in cluster) *rendered {
	t.Helper()
	r, err := render(load(t, name), v, in)
	if err != nil {
		t.Fatalf("%s: %v", v, err)
	}
	return r
}

// parse reads objects out of YAML, strictly enough to notice two in one.
func parse(text string) ([]*unstructured.Unstructured, error) {
	var out []*unstructured.Unstructured
	for decoder := yaml.NewYAMLOrJSONDecoder(strings.NewReader(text), 4096); ; {
		raw := runtime.RawExtension{}
		o := &unstructured.Unstructured{}
		switch err := decoder.Decode(&raw); {
		case errors.Is(err, io.EOF):
			return out, nil
		case err != nil:
			return nil, err
		case len(raw.Raw) == 0 || string(raw.Raw) == "null":
			continue
		}
		// Whole numbers stay whole, as the API server reads them.
		if err := json.Unmarshal(raw.Raw, &o.Object); err != nil {
			return nil, err
		}
		switch {
		case len(o.Object) == 0:
			continue
		case o.GetKind() == "" || o.GetAPIVersion() == "" || o.GetName() == "":
			return nil, fmt.Errorf("an object lacks kind, apiVersion or name: %v", o.Object)
		}
		out = append(out, o)
	}
}

// at reads a field by its path; absent is nil.
func at(t *testing.T, o *unstructured.Unstructured, path ...string) any {
	t.Helper()
	got, _, err := unstructured.NestedFieldNoCopy(o.Object, path...)
	if err != nil {
		t.Fatalf("%s %s: %v", o.GetKind(), o.GetName(), err)
	}
	return got
}
