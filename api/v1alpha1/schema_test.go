// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package v1alpha1_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	crdvalidation "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/validation"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/cel"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/listtype"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/pruning"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	celconfig "k8s.io/apiserver/pkg/apis/cel"
	"sigs.k8s.io/yaml"

	"github.com/fairlead/fairlead/api/v1alpha1"
)

const crdDir = "../../config/crd/bases"

// definition is one generated CRD with the validators that the API server would build from it.
type definition struct {
	crd        *apiextensionsv1.CustomResourceDefinition
	internal   *apiextensions.CustomResourceDefinition
	structural *schema.Structural
	schema     validation.SchemaValidator
	cel        *cel.Validator
}

// definitions builds the validators once: compiling the CEL rules is slow under the race detector.
var definitions = sync.OnceValues(func() (map[string]*definition, error) {
	files, err := filepath.Glob(filepath.Join(crdDir, "*.yaml"))
	if err != nil {
		return nil, err
	}
	byKind := map[string]*definition{}
	for _, file := range files {
		d, err := loadDefinition(file)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		byKind[d.crd.Spec.Names.Kind] = d
	}
	return byKind, nil
})

func loadDefinition(file string) (*definition, error) {
	raw, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	d := &definition{crd: &apiextensionsv1.CustomResourceDefinition{}, internal: &apiextensions.CustomResourceDefinition{}}
	if err := yaml.UnmarshalStrict(raw, d.crd); err != nil {
		return nil, err
	}
	apiextensionsv1.SetDefaults_CustomResourceDefinition(d.crd)
	apiextensionsv1.SetDefaults_CustomResourceDefinitionSpec(&d.crd.Spec)
	if err := apiextensionsv1.Convert_v1_CustomResourceDefinition_To_apiextensions_CustomResourceDefinition(d.crd, d.internal, nil); err != nil {
		return nil, err
	}
	d.internal.Status.StoredVersions = []string{v1alpha1.GroupVersion.Version}
	props, err := apiextensions.GetSchemaForVersion(d.internal, v1alpha1.GroupVersion.Version)
	if err != nil {
		return nil, err
	}
	if d.structural, err = schema.NewStructural(props.OpenAPIV3Schema); err != nil {
		return nil, err
	}
	if d.schema, _, err = validation.NewSchemaValidator(props.OpenAPIV3Schema); err != nil {
		return nil, err
	}
	d.cel = cel.NewValidator(d.structural, true, celconfig.PerCallLimit)
	return d, nil
}

func definitionOf(t *testing.T, kind string) *definition {
	t.Helper()
	all, err := definitions()
	if err != nil {
		t.Fatal(err)
	}
	if all[kind] == nil {
		t.Fatalf("%s has no CRD for the kind %s", crdDir, kind)
	}
	return all[kind]
}

// validate does what the API server does on create: unknown fields, schema, list types, and then CEL unless an error
// stands in its way.
func (d *definition) validate(obj map[string]any) field.ErrorList {
	var errs field.ErrorList
	unknown := pruning.PruneWithOptions(deepCopy(obj), d.structural, true, schema.UnknownFieldPathOptions{TrackUnknownFieldPaths: true})
	for _, path := range unknown {
		errs = append(errs, &field.Error{Type: "FieldValueUnknown", Field: path})
	}
	errs = append(errs, validation.ValidateCustomResource(nil, obj, d.schema)...)
	errs = append(errs, listtype.ValidateListSetsAndMaps(nil, d.structural, obj)...)
	blocking := []field.ErrorType{
		field.ErrorTypeNotSupported, field.ErrorTypeRequired, field.ErrorTypeTooLong, field.ErrorTypeTooMany, field.ErrorTypeTypeInvalid,
	}
	for _, err := range errs {
		if slices.Contains(blocking, err.Type) {
			return errs
		}
	}
	celErrs, _ := d.cel.Validate(context.Background(), nil, d.structural, obj, nil, celconfig.RuntimeCELCostBudget)
	return append(errs, celErrs...)
}

// decode reads YAML the way the API server does: whole numbers become int64.
func decode(t *testing.T, text string) map[string]any {
	t.Helper()
	var obj map[string]any
	if err := yaml.UnmarshalStrict([]byte(text), &obj); err != nil {
		t.Fatal(err)
	}
	return wholeNumbers(obj).(map[string]any)
}

func readFull(t *testing.T, kind string) map[string]any {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join("testdata", "full-"+strings.ToLower(kind)+".yaml"))
	if err != nil {
		t.Fatal(err)
	}
	return decode(t, string(raw))
}

func wholeNumbers(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for key := range v {
			v[key] = wholeNumbers(v[key])
		}
	case []any:
		for i := range v {
			v[i] = wholeNumbers(v[i])
		}
	case float64:
		if v == float64(int64(v)) {
			return int64(v)
		}
	}
	return v
}

func deepCopy(v any) any {
	switch v := v.(type) {
	case map[string]any:
		out := make(map[string]any, len(v))
		for key := range v {
			out[key] = deepCopy(v[key])
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i := range v {
			out[i] = deepCopy(v[i])
		}
		return out
	}
	return v
}

var kinds = []string{v1alpha1.KindRPCService, v1alpha1.KindRPCCallPolicy, v1alpha1.KindRPCLimitPolicy}

func TestCRDsAreAcceptedByTheAPIServer(t *testing.T) {
	for _, kind := range kinds {
		d := definitionOf(t, kind)
		// This includes the estimated cost of every CEL rule.
		for _, err := range crdvalidation.ValidateCustomResourceDefinition(context.Background(), d.internal) {
			t.Errorf("%s: %v", kind, err)
		}
	}
	all, _ := definitions()
	if len(all) != len(kinds) {
		t.Errorf("%s has %d CRDs, want one for each of %v", crdDir, len(all), kinds)
	}
}

func TestCRDsAreNamedAndPrintedAsPromised(t *testing.T) {
	tests := []struct {
		kind, plural, short, columns, wide, policyLabel string
	}{
		{v1alpha1.KindRPCService, v1alpha1.ResourceRPCServices, "rpcsvc", "Ready Endpoints Age", "Programmed", ""},
		{v1alpha1.KindRPCCallPolicy, v1alpha1.ResourceRPCCallPolicies, "rpccall", "Ready Targets Age", "Programmed", "Inherited"},
		{v1alpha1.KindRPCLimitPolicy, v1alpha1.ResourceRPCLimitPolicies, "rpclim", "Ready Targets Age", "Programmed", "Inherited"},
	}
	for _, test := range tests {
		t.Run(test.kind, func(t *testing.T) {
			crd := definitionOf(t, test.kind).crd
			names := crd.Spec.Names
			if crd.Name != test.plural+"."+v1alpha1.GroupName || names.Plural != test.plural {
				t.Errorf("name %q, plural %q, want plural %q", crd.Name, names.Plural, test.plural)
			}
			if fmt.Sprint(names.ShortNames) != fmt.Sprint([]string{test.short}) || fmt.Sprint(names.Categories) != "[rpc]" {
				t.Errorf("short names %v, categories %v, want [%s] and [rpc]", names.ShortNames, names.Categories, test.short)
			}
			if crd.Spec.Scope != apiextensionsv1.NamespaceScoped {
				t.Errorf("scope %s, want Namespaced", crd.Spec.Scope)
			}
			if got := crd.Labels["gateway.networking.k8s.io/policy"]; got != test.policyLabel {
				t.Errorf("policy label %q, want %q", got, test.policyLabel)
			}
			version := crd.Spec.Versions[0]
			if len(crd.Spec.Versions) != 1 || version.Subresources == nil || version.Subresources.Status == nil {
				t.Errorf("want one version, with the subresource status")
			}
			var columns, wide []string
			for _, column := range version.AdditionalPrinterColumns {
				if column.Priority == 0 {
					columns = append(columns, column.Name)
				} else {
					wide = append(wide, column.Name)
				}
			}
			if got := strings.Join(columns, " "); got != test.columns {
				t.Errorf("columns %q, want %q", got, test.columns)
			}
			if got := strings.Join(wide, " "); got != test.wide {
				t.Errorf("wide columns %q, want %q", got, test.wide)
			}
		})
	}
}

// TestSchemaHasNoDefaultsAndEverythingIsBounded holds what docs/policies.md promises about every field.
func TestSchemaHasNoDefaultsAndEverythingIsBounded(t *testing.T) {
	for _, kind := range kinds {
		root := definitionOf(t, kind).crd.Spec.Versions[0].Schema.OpenAPIV3Schema
		for _, part := range []string{"spec", "status"} {
			walk(part, root.Properties[part], func(path string, s apiextensionsv1.JSONSchemaProps) {
				for _, fault := range faults(path, s) {
					t.Errorf("%s: %s: %s", kind, path, fault)
				}
			})
		}
	}
}

func faults(path string, s apiextensionsv1.JSONSchemaProps) []string {
	var out []string
	if s.Default != nil {
		out = append(out, "has a default; defaults live where policies are compiled")
	}
	if s.Description == "" && !strings.HasSuffix(path, "[]") {
		out = append(out, "has no description")
	}
	// Labels are free by their nature, and everybody writes them as a mapping; their number and values are bounded.
	labels := strings.HasSuffix(path, ".matchLabels") && s.MaxProperties != nil && s.AdditionalProperties.Schema.MaxLength != nil
	if s.AdditionalProperties != nil && !labels || s.XPreserveUnknownFields != nil || s.XIntOrString {
		out = append(out, "is open; use a list with names")
	}
	switch s.Type {
	case "string":
		if s.MaxLength == nil && len(s.Enum) == 0 && s.Format != "date-time" {
			out = append(out, "is a string without maxLength or enum")
		}
	case "array":
		if s.MaxItems == nil {
			out = append(out, "is a list without maxItems")
		}
		if s.XListType == nil {
			out = append(out, "is a list without a list type")
		}
	case "integer":
		if strings.HasSuffix(path, ".observedGeneration") {
			break
		}
		if s.Format != "int32" || s.Minimum == nil || s.Maximum == nil {
			out = append(out, "is a number without int32, minimum and maximum")
		}
	case "object":
	default:
		out = append(out, "has the type "+s.Type)
	}
	return out
}

func walk(path string, s apiextensionsv1.JSONSchemaProps, visit func(string, apiextensionsv1.JSONSchemaProps)) {
	visit(path, s)
	for name, property := range s.Properties {
		walk(path+"."+name, property, visit)
	}
	if s.Items != nil {
		walk(path+"[]", *s.Items.Schema, visit)
	}
}
