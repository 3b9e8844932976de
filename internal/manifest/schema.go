// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package manifest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/cel"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/defaulting"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/listtype"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/pruning"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/validation"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"
	celconfig "k8s.io/apiserver/pkg/apis/cel"
	"sigs.k8s.io/yaml"

	"github.com/fairlead/fairlead/api/v1alpha1"
	"github.com/fairlead/fairlead/config/crd"
)

// definition holds the validators that the API server makes of a CustomResourceDefinition.
type definition struct {
	structural *schema.Structural
	schema     validation.SchemaValidator
	cel        *cel.Validator
}

// definitions makes the validators once: compiling the CEL rules takes longer than all else together. They are safe for
// concurrent use.
var definitions = sync.OnceValues(func() (map[string]*definition, error) {
	texts, err := crd.Definitions()
	if err != nil {
		return nil, err
	}
	byKind := make(map[string]*definition, len(texts))
	for _, text := range texts {
		kind, d, err := newDefinition(text)
		if err != nil {
			return nil, fmt.Errorf("embedded definition of %s: %w", kind, err)
		}
		byKind[kind] = d
	}
	return byKind, nil
})

func newDefinition(text []byte) (kind string, d *definition, err error) {
	var written apiextensionsv1.CustomResourceDefinition
	if err := yaml.UnmarshalStrict(text, &written); err != nil {
		return "", nil, err
	}
	kind = written.Spec.Names.Kind
	var internal apiextensions.CustomResourceDefinition
	if err := apiextensionsv1.Convert_v1_CustomResourceDefinition_To_apiextensions_CustomResourceDefinition(&written, &internal, nil); err != nil {
		return kind, nil, err
	}
	props, err := apiextensions.GetSchemaForVersion(&internal, v1alpha1.GroupVersion.Version)
	if err != nil {
		return kind, nil, err
	}
	if props == nil {
		return kind, nil, errors.New("there is no schema")
	}
	d = &definition{}
	if d.structural, err = schema.NewStructural(props.OpenAPIV3Schema); err != nil {
		return kind, nil, err
	}
	if d.schema, _, err = validation.NewSchemaValidator(props.OpenAPIV3Schema); err != nil {
		return kind, nil, err
	}
	d.cel = cel.NewValidator(d.structural, true, celconfig.PerCallLimit)
	return kind, d, nil
}

// unknown returns the paths of fields that the schema does not know.
func (d *definition) unknown(value map[string]any) []string {
	pruned := runtime.DeepCopyJSON(value)
	return pruning.PruneWithOptions(pruned, d.structural, true, schema.UnknownFieldPathOptions{TrackUnknownFieldPaths: true})
}

// forget drops what the server drops without a word: null where nothing is meant, and status, which create ignores.
func (d *definition) forget(value map[string]any) {
	defaulting.PruneNonNullableNullsWithoutDefaults(value, d.structural)
	delete(value, "status")
}

// validate does what the server does on create, in its order: the schema, sets and maps that are lists, and then CEL,
// unless something is wrong that rules cannot bear, or that would make them complain of what follows from it.
func (d *definition) validate(value map[string]any, rules bool) field.ErrorList {
	errs := validation.ValidateCustomResource(nil, value, d.schema)
	errs = append(errs, listtype.ValidateListSetsAndMaps(nil, d.structural, value)...)
	if !rules || slices.ContainsFunc(errs, func(err *field.Error) bool { return slices.Contains(blocking, err.Type) }) {
		return errs
	}
	// The context only bounds the time; the budget bounds the cost, and it is the server's.
	broken, _ := d.cel.Validate(context.Background(), nil, d.structural, value, nil, celconfig.RuntimeCELCostBudget)
	return append(errs, broken...)
}

// blocking are the errors after which the server evaluates no rule.
var blocking = []field.ErrorType{
	field.ErrorTypeNotSupported, field.ErrorTypeRequired, field.ErrorTypeTooLong, field.ErrorTypeTooMany, field.ErrorTypeTypeInvalid,
}
