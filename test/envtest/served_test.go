// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build envtest

package envtest

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
	"sigs.k8s.io/yaml"

	"github.com/fairlead/fairlead/controllers"
)

// TestOlderDefinitions starts an operator over a definition of an older chart:
// it is not ready, says which chart that is and what is lacking, and tells
// callers nothing. Once the chart is upgraded it goes on by itself.
func TestOlderDefinitions(t *testing.T) {
	folder := t.TempDir()
	current := olderDefinitions(t, folder, "0.0.9")
	c := ownCluster(t, func(e *envtest.Environment) { e.CRDDirectoryPaths = []string{folder} })
	health := freeAddress(t)
	operator := c.run(t, func(o *controllers.Options) { o.HealthAddress = health })
	s := c.space(t)
	got := watch(t, newWatch(t, s.name, operator.address), s.full("cart"))
	s.create(kubeService("cart"), rpcService("cart"), slice("cart-1", "cart", pod(1)))

	eventually(t, func() error {
		code, text := ask(t, health, "/readyz/definitions")
		for _, part := range []string{"the chart fairlead-crds-0.0.9 is too old", "rpcservices.rpc.fairlead.dev lacks", "v1alpha1 spec.methods"} {
			if code == http.StatusOK || !strings.Contains(text, part) {
				return fmt.Errorf("%d %s, want something about %q", code, text, part)
			}
		}
		return nil
	})
	if code := probe(t, health, "/healthz"); code != http.StatusOK {
		t.Errorf("/healthz says %d: the kubelet would kill it, which upgrades no chart", code)
	}
	if code := probe(t, health, "/readyz"); code == http.StatusOK {
		t.Error("ready without the fields that it compiles")
	}
	if got.last() != nil {
		t.Error("a caller was told something")
	}

	var old apiextensionsv1.CustomResourceDefinition
	if err := c.admin.Get(t.Context(), client.ObjectKey{Name: current.Name}, &old); err != nil {
		t.Fatal(err)
	}
	old.Spec = current.Spec
	if err := c.admin.Update(t.Context(), &old); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() error {
		if code, text := ask(t, health, "/readyz"); code != http.StatusOK {
			return fmt.Errorf("%d %s", code, text)
		}
		return nil
	})
	wantEndpoints(t, got, "0.2=ready")
}

// olderDefinitions writes our definitions to a folder, that of RPCService as a
// chart of some version made it before it had methods. It returns the current
// one.
func olderDefinitions(t *testing.T, folder, version string) *apiextensionsv1.CustomResourceDefinition {
	t.Helper()
	files, err := filepath.Glob(root("config", "crd", "bases", "*.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var current *apiextensionsv1.CustomResourceDefinition
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasSuffix(file, "_rpcservices.yaml") {
			current = &apiextensionsv1.CustomResourceDefinition{}
			if err := yaml.Unmarshal(text, current); err != nil {
				t.Fatal(err)
			}
			old := current.DeepCopy()
			old.Labels = map[string]string{"helm.sh/chart": "fairlead-crds-" + version}
			spec := old.Spec.Versions[0].Schema.OpenAPIV3Schema.Properties["spec"]
			delete(spec.Properties, "methods")
			spec.XValidations = nil // they speak of methods
			old.Spec.Versions[0].Schema.OpenAPIV3Schema.Properties["spec"] = spec
			if text, err = yaml.Marshal(old); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.WriteFile(filepath.Join(folder, filepath.Base(file)), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return current
}

// ask is probe with the text of the answer.
func ask(t *testing.T, address, path string) (int, string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+address+path, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return 0, err.Error()
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		return 0, err.Error()
	}
	return response.StatusCode, string(text)
}
