// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package crd

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-logr/logr/funcr"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

type props = apiextensionsv1.JSONSchemaProps

// definition makes one of version v1 with a status, whose schema has fields.
func definition(fields map[string]props) *apiextensionsv1.CustomResourceDefinition {
	d := &apiextensionsv1.CustomResourceDefinition{}
	d.Name = "things.example.com"
	d.Spec.Versions = []apiextensionsv1.CustomResourceDefinitionVersion{{
		Name: "v1", Served: true, Schema: &apiextensionsv1.CustomResourceValidation{OpenAPIV3Schema: &props{Properties: fields}},
		Subresources: &apiextensionsv1.CustomResourceSubresources{Status: &apiextensionsv1.CustomResourceSubresourceStatus{}},
	}}
	return d
}

func object(fields map[string]props) props { return props{Type: "object", Properties: fields} }
func list(of props) props {
	return props{Type: "array", Items: &apiextensionsv1.JSONSchemaPropsOrArray{Schema: &of}}
}
func dictionary(of props) props {
	return props{Type: "object", AdditionalProperties: &apiextensionsv1.JSONSchemaPropsOrBool{Allows: true, Schema: &of}}
}

func TestLacking(t *testing.T) {
	text, yes := props{Type: "string"}, true
	full := definition(map[string]props{
		"spec":   object(map[string]props{"name": text, "methods": list(object(map[string]props{"a": text, "b": text})), "by": dictionary(object(map[string]props{"c": text}))}),
		"status": object(map[string]props{"total": text}),
	})
	noStatus, notServed := full.DeepCopy(), full.DeepCopy()
	noStatus.Spec.Versions[0].Subresources = nil
	notServed.Spec.Versions[0].Served = false
	for _, test := range []struct {
		name   string
		served *apiextensionsv1.CustomResourceDefinition
		want   string
	}{
		{"the same", full, ""},
		{"more", definition(map[string]props{"spec": full.Spec.Versions[0].Schema.OpenAPIV3Schema.Properties["spec"],
			"status": object(map[string]props{"total": text, "new": text}), "more": text}), ""},
		{"a field, deep down, and one in the status", definition(map[string]props{
			"spec":   object(map[string]props{"name": text, "methods": list(object(map[string]props{"a": text})), "by": dictionary(object(nil))}),
			"status": object(nil),
		}), "v1 spec.by{}.c, v1 spec.methods[].b, v1 status.total"},
		{"a whole part", definition(map[string]props{"status": object(map[string]props{"total": text})}), "v1 spec"},
		{"what keeps unknown fields", definition(map[string]props{"spec": {XPreserveUnknownFields: &yes}, "status": {XPreserveUnknownFields: &yes}}), ""},
		{"other types", definition(map[string]props{"spec": object(map[string]props{"name": text, "methods": text, "by": text}),
			"status": object(map[string]props{"total": text})}), "v1 spec.by{}, v1 spec.methods[]"},
		{"no status of its own", noStatus, "v1 status as a resource of its own"},
		{"a version that is not served", notServed, "version v1"},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := strings.Join(Lacking(test.served, full), ", "); got != test.want {
				t.Errorf("got  %s\nwant %s", got, test.want)
			}
		})
	}
}

// shelf plays an API server that holds definitions.
type shelf struct {
	client.Reader
	mu          sync.Mutex
	definitions map[string]*apiextensionsv1.CustomResourceDefinition
	err         error
}

// change does something to it that the next reading finds.
func (s *shelf) change(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f()
}

func (s *shelf) Get(_ context.Context, key client.ObjectKey, into client.Object, _ ...client.GetOption) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return s.err
	}
	d, ok := s.definitions[key.Name]
	if !ok {
		return apierrors.NewNotFound(schema.GroupResource{Resource: "customresourcedefinitions"}, key.Name)
	}
	text, err := json.Marshal(d)
	if err != nil {
		return err
	}
	return json.Unmarshal(text, &into.(*unstructured.Unstructured).Object)
}

// TestAwait waits through an API server that does not answer, definitions that
// are not there, and one that is too old; it says each once.
func TestAwait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		wanted, err := wantedDefinitions()
		if err != nil {
			t.Fatal(err)
		}
		log := make(chan string, 10) // more than are written
		api := &shelf{err: errors.New("no route to host")}
		s := &Served{Live: api, Log: funcr.New(func(_, args string) { log <- args }, funcr.Options{})}
		if s.Problem() == nil {
			t.Error("suits before anything was read")
		}
		done := make(chan error, 1)
		go func() { done <- s.Await(t.Context()) }()
		expect := func(parts ...string) {
			t.Helper()
			time.Sleep(21 * time.Second) // four tries
			synctest.Wait()
			select {
			case err := <-done:
				t.Fatalf("returned %v", err)
			default:
			}
			for _, part := range parts {
				if err := s.Problem(); err == nil || !strings.Contains(err.Error(), part) {
					t.Errorf("%v, want something about %q", err, part)
				}
			}
			if n := len(log); n != 1 {
				t.Fatalf("%d lines in the log, want 1", n)
			}
			if line := <-log; !strings.Contains(line, parts[0]) {
				t.Errorf("log %q, want something about %q", line, parts[0])
			}
		}
		expect("no route to host")

		api.change(func() { api.err = nil })
		expect("rpcservices.rpc.fairlead.dev is not in the cluster", "rpclimitpolicies.rpc.fairlead.dev is not", "install the chart fairlead-crds")

		definitions, full := map[string]*apiextensionsv1.CustomResourceDefinition{}, map[string]*apiextensionsv1.CustomResourceDefinition{}
		for _, d := range wanted {
			definitions[d.Name], full[d.Name] = d.DeepCopy(), d
		}
		old := definitions["rpcservices.rpc.fairlead.dev"]
		delete(old.Spec.Versions[0].Schema.OpenAPIV3Schema.Properties["spec"].Properties, "methods")
		old.Labels = map[string]string{"helm.sh/chart": "fairlead-crds-0.0.1"}
		api.change(func() { api.definitions = definitions })
		expect("the chart fairlead-crds-0.0.1 is too old", "v1alpha1 spec.methods", "upgrade it")

		api.change(func() { old.Labels = nil })
		expect("which no chart made", "apply the config/crd")

		api.change(func() { api.definitions = full })
		if err := <-done; err != nil || s.Problem() != nil {
			t.Errorf("returned %v with the problem %v", err, s.Problem())
		}
	})
}

// TestAwaitEnds: with its context, and says so.
func TestAwaitEnds(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	s := &Served{Live: &shelf{err: context.Canceled}}
	if err := s.Await(ctx); !errors.Is(err, context.Canceled) || s.Problem() == nil {
		t.Errorf("returned %v with the problem %v", err, s.Problem())
	}
}

// TestMessageIsBounded: an operator that is far ahead does not fill the log.
func TestMessageIsBounded(t *testing.T) {
	err := tooOld(definition(nil), []string{"v1 a", "v1 b", "v1 c", "v1 d", "v1 e"})
	if !strings.Contains(err.Error(), "v1 a, v1 b, v1 c and 2 more;") {
		t.Error(err)
	}
}
