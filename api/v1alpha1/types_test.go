// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package v1alpha1_test

import (
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	kjson "sigs.k8s.io/json"

	"github.com/fairlead/fairlead/api/v1alpha1"
)

func newObject(t *testing.T, kind string) runtime.Object {
	t.Helper()
	scheme := runtime.NewScheme()
	if err := v1alpha1.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	obj, err := scheme.New(v1alpha1.GroupVersion.WithKind(kind))
	if err != nil {
		t.Fatal(err)
	}
	return obj
}

// TestRoundTrip holds that the Go types have every field that the schema has, and write what they read.
func TestRoundTrip(t *testing.T) {
	for _, kind := range kinds {
		full := readFull(t, kind)
		raw, err := json.Marshal(full)
		if err != nil {
			t.Fatal(err)
		}
		obj := newObject(t, kind)
		strict, err := kjson.UnmarshalStrict(raw, obj)
		if err != nil || len(strict) > 0 {
			t.Fatalf("%s: %v %v", kind, err, strict)
		}
		again, err := json.Marshal(obj.DeepCopyObject())
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(full, decode(t, string(again))); diff != "" {
			t.Errorf("%s: a round trip changes the object (-want +got):\n%s", kind, diff)
		}
	}
}

// TestUnsetFieldsAreNotWritten holds that an object with nothing set writes no optional field: an empty one would be
// refused, or taken for the user's will.
func TestUnsetFieldsAreNotWritten(t *testing.T) {
	for kind, want := range map[string]string{
		v1alpha1.KindRPCService:     `{"spec":{"source":{"type":""}}}`,
		v1alpha1.KindRPCCallPolicy:  `{"spec":{"targetRefs":null}}`,
		v1alpha1.KindRPCLimitPolicy: `{"spec":{"targetRefs":null,"limits":null}}`,
	} {
		got, err := json.Marshal(newObject(t, kind))
		if err != nil || string(got) != want {
			t.Errorf("%s: got %s, %v, want %s", kind, got, err, want)
		}
	}
}

func TestSchemeDecodesByKind(t *testing.T) {
	scheme := runtime.NewScheme()
	if err := v1alpha1.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	decoder := serializer.NewCodecFactory(scheme, serializer.EnableStrict).UniversalDeserializer()
	for _, kind := range kinds {
		raw, err := json.Marshal(readFull(t, kind))
		if err != nil {
			t.Fatal(err)
		}
		_, gvk, err := decoder.Decode(raw, nil, nil)
		if err != nil || *gvk != v1alpha1.GroupVersion.WithKind(kind) {
			t.Errorf("%s: got %v, %v", kind, gvk, err)
		}
		if !scheme.Recognizes(v1alpha1.GroupVersion.WithKind(kind + "List")) {
			t.Errorf("%s has no list", kind)
		}
	}
}
