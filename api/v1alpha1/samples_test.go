// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package v1alpha1_test

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"

	"github.com/fairlead/fairlead/api/v1alpha1"
)

const sampleDir = "../../config/samples"

// samples are the decoded objects of config/samples.
type samples struct {
	service *corev1.Service
	rpc     *v1alpha1.RPCService
	call    *v1alpha1.RPCCallPolicy
	limit   *v1alpha1.RPCLimitPolicy
}

func readSamples(t *testing.T) samples {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(sampleDir, "*.yaml"))
	if err != nil || len(files) == 0 {
		t.Fatalf("%s holds no samples: %v", sampleDir, err)
	}
	var out samples
	for _, file := range files {
		raw, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(raw, []byte("\n---")) {
			t.Errorf("%s: one object per file", file)
		}
		obj := decode(t, string(raw))
		var into any
		switch obj["kind"] {
		case "Service":
			out.service = &corev1.Service{}
			into = out.service
		case v1alpha1.KindRPCService:
			out.rpc = &v1alpha1.RPCService{}
			into = out.rpc
		case v1alpha1.KindRPCCallPolicy:
			out.call = &v1alpha1.RPCCallPolicy{}
			into = out.call
		case v1alpha1.KindRPCLimitPolicy:
			out.limit = &v1alpha1.RPCLimitPolicy{}
			into = out.limit
		default:
			t.Fatalf("%s: unexpected kind %v", file, obj["kind"])
		}
		if kind := obj["kind"].(string); kind != "Service" {
			for _, err := range definitionOf(t, kind).validate(obj) {
				t.Errorf("%s: %v", file, err)
			}
		}
		if err := yaml.UnmarshalStrict(raw, into); err != nil {
			t.Errorf("%s: %v", file, err)
		}
	}
	if out.service == nil || out.rpc == nil || out.call == nil || out.limit == nil {
		t.Fatalf("%s lacks a kind: %+v", sampleDir, out)
	}
	return out
}

// TestSamplesFitTogether holds that every name in a sample leads to another sample, and that they name no namespace, so
// that they can be applied to any.
func TestSamplesFitTogether(t *testing.T) {
	s := readSamples(t)
	for _, namespace := range []string{s.service.Namespace, s.rpc.Namespace, s.call.Namespace, s.limit.Namespace} {
		if namespace != "" {
			t.Errorf("a sample names the namespace %q", namespace)
		}
	}
	source := s.rpc.Spec.Source.Service
	if source.Name != s.service.Name || source.Port == nil ||
		!slices.ContainsFunc(s.service.Spec.Ports, func(p corev1.ServicePort) bool { return p.Name == *source.Port }) {
		t.Errorf("the source %+v is not the sample Service", source)
	}
	declared := func(name v1alpha1.MethodName) bool {
		return slices.ContainsFunc(s.rpc.Spec.Methods, func(m v1alpha1.RPCMethod) bool { return m.Name == name })
	}
	refs := slices.Clone(s.limit.Spec.TargetRefs)
	for _, ref := range s.call.Spec.TargetRefs {
		refs = append(refs, ref.TargetRef)
	}
	for _, ref := range refs {
		if ref.Name != s.rpc.Name || ref.SectionName != nil && !declared(*ref.SectionName) {
			t.Errorf("the target %+v is not in the samples", ref)
		}
	}
	for _, limit := range s.limit.Spec.Limits {
		for _, method := range limit.Methods {
			if !declared(method) {
				t.Errorf("the limit %s names %s, which the sample RPCService does not declare", limit.Name, method)
			}
		}
	}
}
