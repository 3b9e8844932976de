// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package manifest

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// explain puts the errors of the schema, of lists and of rules into words. The validators say in which field and of which
// type an error is; the value and the bound come from the object and the schema, never from the text of an error. The
// text of a rule is its author's and stays.
func (d *definition) explain(errs field.ErrorList, value map[string]any) []remark {
	remarks := make([]remark, 0, len(errs))
	for _, err := range errs {
		if err.Type != field.ErrorTypeTypeInvalid && hasTypeError(errs, err.Field) {
			continue // of the wrong type altogether: nothing more to say about it
		}
		at, found := lookup(value, err.Field)
		bounds := d.at(err.Field)
		remarks = append(remarks, remark{path: err.Field, message: explainOne(err, at, found, bounds)})
	}
	return remarks
}

func hasTypeError(errs field.ErrorList, path string) bool {
	return slices.ContainsFunc(errs, func(err *field.Error) bool {
		return err.Type == field.ErrorTypeTypeInvalid && err.Field == path
	})
}

func explainOne(err *field.Error, value any, found bool, s *schema.Structural) string {
	ofSchema := err.Detail == "" || strings.Contains(err.Detail, " in body ")
	switch err.Type {
	case field.ErrorTypeRequired:
		if err.Detail == "" {
			return missing
		}
		return err.Detail
	case field.ErrorTypeDuplicate:
		return explainDuplicate(err.BadValue)
	case field.ErrorTypeNotSupported:
		if found && s != nil && s.ValueValidation != nil && len(s.ValueValidation.Enum) > 0 {
			return noneOf(value, choices(s))
		}
	case field.ErrorTypeTypeInvalid:
		if found && s != nil {
			return wrongType(value, wanted(s))
		}
	case field.ErrorTypeInvalid, field.ErrorTypeTooLong, field.ErrorTypeTooMany:
		if found && s != nil && s.ValueValidation != nil && (ofSchema || err.Type != field.ErrorTypeInvalid) {
			if message := outOfBounds(value, s); message != "" {
				return message
			}
		}
	default: // Forbidden and what may come: the rule's own words
	}
	if err.Detail != "" {
		return err.Detail
	}
	return err.ErrorBody()
}

func explainDuplicate(bad any) string {
	if keys, ok := bad.(map[string]any); ok {
		names := make([]string, 0, len(keys))
		for name, key := range keys {
			names = append(names, name+" "+show(key))
		}
		slices.Sort(names)
		return strings.Join(names, " and ") + " stands twice in this list"
	}
	return show(bad) + " stands twice in this list"
}

func choices(s *schema.Structural) []string {
	names := make([]string, 0, len(s.ValueValidation.Enum))
	for _, choice := range s.ValueValidation.Enum {
		names = append(names, fmt.Sprint(choice.Object))
	}
	return names
}

// wanted says in words what type a field has, or, if the schema says more than a type, what that is.
func wanted(s *schema.Structural) string {
	switch s.Type {
	case "object":
		return "a mapping"
	case "array":
		return "a list"
	case "integer":
		return "a whole number"
	case "number":
		return "a number"
	case "boolean":
		return "true or false"
	}
	if s.ValueValidation != nil {
		if len(s.ValueValidation.Enum) > 0 {
			return "one of " + strings.Join(choices(s), ", ")
		}
		if words, ok := patternWords(s.ValueValidation.Pattern); ok {
			return words
		}
	}
	return "a string"
}

// outOfBounds names the bound that a value of the right type breaks.
func outOfBounds(value any, s *schema.Structural) string {
	v := s.ValueValidation
	switch value := value.(type) {
	case string:
		switch length := int64(len([]rune(value))); {
		case v.MaxLength != nil && length > *v.MaxLength:
			return fmt.Sprintf("%s is %d characters long; at most %d are allowed", show(value), length, *v.MaxLength)
		case v.MinLength != nil && length < *v.MinLength && length == 0:
			return "is empty"
		case v.MinLength != nil && length < *v.MinLength:
			return fmt.Sprintf("%s is %d characters long; at least %d are needed", show(value), length, *v.MinLength)
		case v.Pattern != "":
			if words, ok := patternWords(v.Pattern); ok {
				return notA(value, words)
			}
			return show(value) + " does not match " + v.Pattern
		}
	case int64:
		return outOfRange(float64(value), value, v)
	case float64:
		return outOfRange(value, value, v)
	case []any:
		return countMessage(int64(len(value)), v.MinItems, v.MaxItems, "entries", nil)
	case map[string]any:
		return countMessage(int64(len(value)), v.MinProperties, v.MaxProperties, "fields", slices.Sorted(maps.Keys(s.Properties)))
	}
	return ""
}

func outOfRange(number float64, shown any, v *schema.ValueValidation) string {
	low, high := v.Minimum, v.Maximum
	tooLow, tooHigh := low != nil && number < *low, high != nil && number > *high
	switch {
	case !tooLow && !tooHigh:
		return ""
	case low != nil && high != nil:
		return fmt.Sprintf("%v is out of range: from %s to %s", shown, plain(*low), plain(*high))
	case tooLow:
		return fmt.Sprintf("%v is too low: %s or more", shown, plain(*low))
	default:
		return fmt.Sprintf("%v is too high: %s or less", shown, plain(*high))
	}
}

func plain(number float64) string { return strconv.FormatFloat(number, 'f', -1, 64) }

func countMessage(count int64, low, high *int64, things string, names []string) string {
	switch {
	case high != nil && count > *high:
		return fmt.Sprintf("has %d %s; at most %d are allowed", count, things, *high)
	case low != nil && count < *low && names != nil:
		return fmt.Sprintf("has %d %s; at least %d of %s must be set", count, things, *low, strings.Join(names, ", "))
	case low != nil && count < *low:
		return fmt.Sprintf("has %d %s; at least %d must be there", count, things, *low)
	}
	return ""
}
