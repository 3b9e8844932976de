// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build envtest

package lint

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/restmapper"
	"sigs.k8s.io/controller-runtime/pkg/envtest"

	"github.com/fairlead/fairlead/internal/manifest"
)

// apiServer is a real API server that has our definitions.
type apiServer struct {
	host   string
	client *http.Client
	mapper meta.RESTMapper
}

func startAPIServer(t *testing.T) *apiServer {
	t.Helper()
	if os.Getenv("KUBEBUILDER_ASSETS") == "" {
		t.Fatal("KUBEBUILDER_ASSETS names no folder with etcd and kube-apiserver; `make test-envtest` builds them and runs this test")
	}
	environment := &envtest.Environment{
		CRDDirectoryPaths:     []string{filepath.Join("..", "..", "config", "crd", "bases")},
		ErrorIfCRDPathMissing: true,
	}
	config, err := environment.Start()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := environment.Stop(); err != nil {
			t.Error(err)
		}
	})
	client, err := rest.HTTPClientFor(config)
	if err != nil {
		t.Fatal(err)
	}
	resources, err := restmapper.GetAPIGroupResources(discovery.NewDiscoveryClientForConfigOrDie(config))
	if err != nil {
		t.Fatal(err)
	}
	return &apiServer{host: strings.TrimSuffix(config.Host, "/"), client: client, mapper: restmapper.NewDiscoveryRESTMapper(resources)}
}

var (
	apiVersionLine = regexp.MustCompile(`(?m)^apiVersion: (.*)$`)
	kindLine       = regexp.MustCompile(`(?m)^kind: (.*)$`)
)

// create sends a document as it stands in its file, which no client has made better or worse, for a create that stores
// nothing. It returns what the server has against it, or nothing. As with kubectl, a kind that the server does not know
// is refused before anything is sent.
func (s *apiServer) create(t *testing.T, text []byte) (refusal string) {
	t.Helper()
	version, err := schema.ParseGroupVersion(string(apiVersionLine.FindSubmatch(text)[1]))
	if err != nil {
		t.Fatal(err)
	}
	kind := schema.GroupKind{Group: version.Group, Kind: string(kindLine.FindSubmatch(text)[1])}
	mapping, err := s.mapper.RESTMapping(kind, version.Version)
	if meta.IsNoMatchError(err) {
		return err.Error()
	} else if err != nil {
		t.Fatal(err)
	}
	root := "/apis/" + version.String()
	if version.Group == "" {
		root = "/api/" + version.Version
	}
	url := fmt.Sprintf("%s%s/namespaces/default/%s?fieldValidation=Strict&dryRun=All", s.host, root, mapping.Resource.Resource)
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/yaml")
	request.Header.Set("Accept", "application/json")
	response, err := s.client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	switch response.StatusCode {
	case http.StatusCreated:
		return ""
	case http.StatusBadRequest, http.StatusUnprocessableEntity:
		var status metav1.Status
		if err := json.Unmarshal(body, &status); err != nil || status.Message == "" {
			t.Fatalf("refused without a reason: %s", body)
		}
		return status.Message
	default:
		t.Fatalf("%s: %s", response.Status, body)
		return ""
	}
}

// TestAPIServerAgrees sends everything that lint is held to elsewhere to a real API server, and holds it to the same.
func TestAPIServerAgrees(t *testing.T) {
	server := startAPIServer(t)
	t.Run("good", func(t *testing.T) {
		if refusal := server.create(t, readFile(t, "testdata", "good.yaml")); refusal != "" {
			t.Error(refusal)
		}
	})
	for _, c := range brokenCases(t) {
		t.Run("broken/"+c.name, func(t *testing.T) {
			refusal := server.create(t, c.text)
			if (refusal == "") != (c.severity == manifest.Warning) {
				t.Fatalf("lint has an %v, the server says %q", c.severity, refusal)
			}
			if !strings.Contains(refusal, c.server) {
				t.Errorf("the server refuses it for something else than %q: %s", c.server, refusal)
			}
		})
	}
	for _, c := range parityCases(t) {
		t.Run("parity/"+c.name, func(t *testing.T) {
			if refusal := server.create(t, c.text); (refusal == "") != c.ok {
				t.Errorf("taken %v, want %v: %s", refusal == "", c.ok, refusal)
			}
		})
	}
	samples, err := filepath.Glob(filepath.Join("..", "..", "config", "samples", "*.yaml"))
	if err != nil || len(samples) == 0 {
		t.Fatalf("no samples: %v", err)
	}
	for _, sample := range samples {
		t.Run("samples/"+filepath.Base(sample), func(t *testing.T) {
			if refusal := server.create(t, readFile(t, sample)); refusal != "" {
				t.Error(refusal)
			}
			if found := lint(t, readFile(t, sample)); len(found) > 0 && found[0].Severity == manifest.Error {
				t.Errorf("lint: %v", found)
			}
		})
	}
}
