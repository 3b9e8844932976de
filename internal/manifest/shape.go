// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package manifest

import (
	"encoding"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
)

// misfits compares a decoded value with the Go type that it is to become, as strict decoding does, and names every field
// that has no place in the type or the wrong form for it. Strict decoding itself stops at the first wrong form and
// leaves the index out of its path.
func misfits(value any, t reflect.Type, path string) []remark {
	if value == nil {
		return nil // null sets nothing
	}
	if t.Kind() == reflect.Pointer {
		return misfits(value, t.Elem(), path)
	}
	if unmarshals(t) {
		return misfitOwn(value, t, path)
	}
	switch t.Kind() {
	case reflect.Struct:
		object, ok := value.(map[string]any)
		if !ok {
			return []remark{{path: path, message: wrongType(value, "a mapping")}}
		}
		return misfitFields(object, t, path)
	case reflect.Map:
		object, ok := value.(map[string]any)
		if !ok {
			return []remark{{path: path, message: wrongType(value, "a mapping")}}
		}
		var found []remark
		for name, part := range object {
			found = append(found, misfits(part, t.Elem(), path+"["+name+"]")...)
		}
		return found
	case reflect.Slice:
		list, ok := value.([]any)
		if !ok || t.Elem().Kind() == reflect.Uint8 {
			return misfitOwn(value, t, path)
		}
		var found []remark
		for i, part := range list {
			found = append(found, misfits(part, t.Elem(), path+"["+strconv.Itoa(i)+"]")...)
		}
		return found
	default:
		return misfitOwn(value, t, path)
	}
}

func unmarshals(t reflect.Type) bool {
	p := reflect.PointerTo(t)
	return p.Implements(reflect.TypeFor[json.Unmarshaler]()) || p.Implements(reflect.TypeFor[encoding.TextUnmarshaler]())
}

// misfitOwn asks the decoder about one value that has no parts of its own to name.
func misfitOwn(value any, t reflect.Type, path string) []remark {
	encoded, err := json.Marshal(value)
	if err == nil {
		err = json.Unmarshal(encoded, reflect.New(t).Interface())
	}
	if err == nil {
		return nil
	}
	return []remark{{path: path, message: misfit(value, t)}}
}

func misfit(value any, t reflect.Type) string {
	switch t.String() {
	case "v1.Time", "v1.MicroTime":
		return notA(value, "a time such as 2006-01-02T15:04:05Z")
	case "intstr.IntOrString":
		return wrongType(value, "a whole number or a string")
	}
	switch t.Kind() {
	case reflect.String:
		return wrongType(value, "a string")
	case reflect.Bool:
		return wrongType(value, "true or false")
	case reflect.Slice:
		return wrongType(value, "a list")
	case reflect.Int, reflect.Int32, reflect.Int64, reflect.Uint16:
		if _, whole := value.(int64); whole {
			return fmt.Sprintf("%v does not fit into %d bits", value, t.Bits())
		}
		return wrongType(value, "a whole number")
	default:
		return wrongType(value, "another form")
	}
}

func misfitFields(object map[string]any, t reflect.Type, path string) (found []remark) {
	fields := fieldsOf(t)
	names := make([]string, 0, len(fields))
	for name := range fields {
		names = append(names, name)
	}
	slices.Sort(names)
	for name, part := range object {
		fieldType, ok := fields[name]
		if !ok {
			found = append(found, remark{path: join(path, name), message: unknownField(name, names)})
			continue
		}
		found = append(found, misfits(part, fieldType, join(path, name))...)
	}
	return found
}

// fieldsOf lists the fields of a struct by their names in JSON, those of embedded structs among them.
func fieldsOf(t reflect.Type) map[string]reflect.Type {
	fields := make(map[string]reflect.Type)
	for i := range t.NumField() {
		f := t.Field(i)
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch {
		case name == "-" || !f.IsExported():
		case name == "" && f.Anonymous:
			for inner, innerType := range fieldsOf(f.Type) {
				fields[inner] = innerType
			}
		case name == "":
			fields[f.Name] = f.Type
		default:
			fields[name] = f.Type
		}
	}
	return fields
}
