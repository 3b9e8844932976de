// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package crd

import (
	"maps"
	"slices"
	"strings"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
)

// Lacking lists what a definition that is served lacks of one that is wanted:
// versions, their status, and fields by their path, such as v1alpha1
// spec.consumers or v1alpha1 spec.methods[].name. Of a field that is lacking, what lies below is not listed.
// What the served one has beyond the wanted one does not matter: a newer
// definition suits an older operator.
func Lacking(served, wanted *apiextensionsv1.CustomResourceDefinition) []string {
	var out []string
	for i := range wanted.Spec.Versions {
		want := &wanted.Spec.Versions[i]
		at := slices.IndexFunc(served.Spec.Versions, func(v apiextensionsv1.CustomResourceDefinitionVersion) bool {
			return v.Name == want.Name && v.Served
		})
		if at < 0 {
			out = append(out, "version "+want.Name)
			continue
		}
		have := &served.Spec.Versions[at]
		if want.Subresources != nil && want.Subresources.Status != nil && (have.Subresources == nil || have.Subresources.Status == nil) {
			out = append(out, want.Name+" status as a resource of its own")
		}
		if want.Schema != nil && have.Schema != nil {
			out = lackingFields(out, want.Name+" ", have.Schema.OpenAPIV3Schema, want.Schema.OpenAPIV3Schema)
		}
	}
	return out
}

// lackingFields goes down both schemas. A schema that keeps fields that it does
// not know lacks none.
func lackingFields(out []string, path string, have, want *apiextensionsv1.JSONSchemaProps) []string {
	if want == nil || have != nil && have.XPreserveUnknownFields != nil && *have.XPreserveUnknownFields {
		return out
	}
	if have == nil {
		return append(out, path)
	}
	for _, name := range slices.Sorted(maps.Keys(want.Properties)) {
		next := want.Properties[name]
		field, ok := have.Properties[name]
		if !ok {
			out = append(out, path+name)
			continue
		}
		out = lackingFields(out, path+name+".", &field, &next)
	}
	if want.Items != nil && want.Items.Schema != nil {
		if have.Items == nil || have.Items.Schema == nil {
			return append(out, strings.TrimSuffix(path, ".")+"[]")
		}
		out = lackingFields(out, strings.TrimSuffix(path, ".")+"[].", have.Items.Schema, want.Items.Schema)
	}
	if want.AdditionalProperties != nil && want.AdditionalProperties.Schema != nil {
		if have.AdditionalProperties == nil || have.AdditionalProperties.Schema == nil {
			return append(out, strings.TrimSuffix(path, ".")+"{}")
		}
		out = lackingFields(out, strings.TrimSuffix(path, ".")+"{}.", have.AdditionalProperties.Schema, want.AdditionalProperties.Schema)
	}
	return out
}
