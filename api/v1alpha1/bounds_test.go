// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package v1alpha1_test

import (
	"fmt"
	"regexp"
	"strings"
	"testing"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"

	"github.com/fairlead/fairlead/api/v1alpha1"
)

// TestEveryBoundBites breaks each bound that the schema of a spec has, one at a time, in an object that sets every field,
// and wants an error at that very field.
func TestEveryBoundBites(t *testing.T) {
	for _, kind := range kinds {
		d := definitionOf(t, kind)
		full := readFull(t, kind)
		if errs := d.validate(full); len(errs) > 0 {
			t.Fatalf("%s: the full object is refused: %v", kind, errs.ToAggregate())
		}
		spec := d.crd.Spec.Versions[0].Schema.OpenAPIV3Schema.Properties["spec"]
		for _, b := range breaches("spec", spec, full["spec"]) {
			t.Run(kind+"/"+b.path+"/"+b.bound, func(t *testing.T) {
				obj := deepCopy(full).(map[string]any)
				set(obj, b.steps, b.value)
				for _, err := range d.validate(obj) {
					if err.Field == b.path {
						return
					}
				}
				t.Errorf("no error at %s for %v; errors: %v", b.path, b.value, d.validate(obj).ToAggregate())
			})
		}
	}
}

// TestFullObjectsSetEveryField keeps testdata complete: a new field must appear there, and so have its bounds tested.
func TestFullObjectsSetEveryField(t *testing.T) {
	// A limit policy with limits by method may not have a sectionName.
	// Overrides are the owner's, who names no namespace; rules_test.go has targets with one.
	exempt := map[string]bool{
		v1alpha1.KindRPCLimitPolicy + " spec.targetRefs[].sectionName": true,
		v1alpha1.KindRPCCallPolicy + " spec.targetRefs[].namespace":    true,
	}
	for _, kind := range kinds {
		full := readFull(t, kind)
		present := map[string]bool{}
		collect("", full, present)
		root := definitionOf(t, kind).crd.Spec.Versions[0].Schema.OpenAPIV3Schema
		for _, part := range []string{"spec", "status"} {
			walk(part, root.Properties[part], func(path string, _ apiextensionsv1.JSONSchemaProps) {
				if !present[path] && !exempt[kind+" "+path] {
					t.Errorf("%s: testdata has no %s", kind, path)
				}
			})
		}
	}
}

func collect(path string, v any, into map[string]bool) {
	into[path] = true
	switch v := v.(type) {
	case map[string]any:
		for key, member := range v {
			collect(strings.TrimPrefix(path+"."+key, "."), member, into)
		}
	case []any:
		for _, item := range v {
			collect(path+"[]", item, into)
		}
	}
}

// removed stands for a field that is taken away.
type removed struct{}

// breach is one change to an object that the schema must refuse at path.
type breach struct {
	path  string
	bound string
	steps []any
	value any
}

// breaches returns one breach per bound of the schema s and what lies below it, following the example.
func breaches(path string, s apiextensionsv1.JSONSchemaProps, example any) []breach {
	var out []breach
	var visit func(path string, steps []any, s apiextensionsv1.JSONSchemaProps, example any)
	visit = func(path string, steps []any, s apiextensionsv1.JSONSchemaProps, example any) {
		for bound, value := range outOfBounds(s, example) {
			out = append(out, breach{path: path, bound: bound, steps: steps, value: value})
		}
		switch example := example.(type) {
		case map[string]any:
			for name, member := range example {
				visit(path+"."+name, append(steps[:len(steps):len(steps)], name), s.Properties[name], member)
			}
			for _, name := range s.Required {
				out = append(out, breach{path + "." + name, "required", append(steps[:len(steps):len(steps)], name), removed{}})
			}
		case []any:
			for i, item := range example {
				visit(fmt.Sprintf("%s[%d]", path, i), append(steps[:len(steps):len(steps)], i), *s.Items.Schema, item)
			}
			if s.XListType != nil && *s.XListType != "atomic" {
				doubled := append(deepCopy(example).([]any), deepCopy(example[0]))
				out = append(out, breach{fmt.Sprintf("%s[%d]", path, len(example)), "unique", steps, doubled})
			}
		}
	}
	visit(path, []any{path}, s, example)
	return out
}

func outOfBounds(s apiextensionsv1.JSONSchemaProps, example any) map[string]any {
	out := map[string]any{"type": true}
	if s.Minimum != nil {
		out["minimum"] = int64(*s.Minimum) - 1
	}
	if s.Maximum != nil {
		out["maximum"] = int64(*s.Maximum) + 1
	}
	if s.MinLength != nil {
		out["minLength"] = strings.Repeat("a", int(*s.MinLength)-1)
	}
	if s.MaxLength != nil {
		out["maxLength"] = strings.Repeat("a", int(*s.MaxLength)+1)
	}
	if s.Pattern != "" {
		out["pattern"] = "not this one"
		if !regexp.MustCompile(s.Pattern).MatchString("") {
			out["empty"] = ""
		}
	}
	if len(s.Enum) > 0 {
		out["enum"] = "Sometimes"
	}
	if s.MinItems != nil {
		out["minItems"] = []any{}
	}
	if s.MaxItems != nil {
		item := example.([]any)[0]
		many := make([]any, *s.MaxItems+1)
		for i := range many {
			many[i] = deepCopy(item)
		}
		out["maxItems"] = many
	}
	if s.MinProperties != nil {
		out["minProperties"] = map[string]any{}
	}
	if s.Type == "object" {
		out["type"] = "text"
	}
	return out
}

func set(obj any, steps []any, value any) {
	for _, step := range steps[:len(steps)-1] {
		switch step := step.(type) {
		case string:
			obj = obj.(map[string]any)[step]
		case int:
			obj = obj.([]any)[step]
		}
	}
	switch last := steps[len(steps)-1].(type) {
	case string:
		if value == (removed{}) {
			delete(obj.(map[string]any), last)
			return
		}
		obj.(map[string]any)[last] = value
	case int:
		obj.([]any)[last] = value
	}
}
