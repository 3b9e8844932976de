// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package manifest

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/fairlead/fairlead/api/v1alpha1"
	"github.com/fairlead/fairlead/internal/compile"
)

// kindInfo says how objects of a kind are read.
type kindInfo struct {
	apiVersion, kind string
	// validName is the server's check of metadata.name.
	validName validation.ValidateNameFunc
	// nameWords says what validName wants.
	nameWords string
	// new makes an empty object to decode into.
	new func() metav1.Object
	// check is what the server checks of a built-in kind after decoding it, and fills in what it would. It is nil for kinds
	// with a CustomResourceDefinition: that says all there is to check.
	check func(metav1.Object) []remark
}

// remark is a finding whose place in the file is not known yet.
type remark struct {
	path     string
	message  string
	severity Severity
}

// kinds are the kinds that are read, and no others.
func kinds() []kindInfo {
	ours := v1alpha1.GroupVersion.String()
	return []kindInfo{
		{ours, v1alpha1.KindRPCService, validation.NameIsDNSSubdomain, subdomainWords, func() metav1.Object { return &v1alpha1.RPCService{} }, nil},
		{ours, v1alpha1.KindRPCCallPolicy, validation.NameIsDNSSubdomain, subdomainWords, func() metav1.Object { return &v1alpha1.RPCCallPolicy{} }, nil},
		{ours, v1alpha1.KindRPCLimitPolicy, validation.NameIsDNSSubdomain, subdomainWords, func() metav1.Object { return &v1alpha1.RPCLimitPolicy{} }, nil},
		{"v1", compile.KindService, validation.NameIsDNSLabel, labelWords, func() metav1.Object { return &corev1.Service{} }, checkService},
		{"discovery.k8s.io/v1", compile.KindEndpointSlice, validation.NameIsDNSSubdomain, subdomainWords, func() metav1.Object { return &discoveryv1.EndpointSlice{} }, checkEndpointSlice},
	}
}

func kindOf(apiVersion, kind string) *kindInfo {
	for _, k := range kinds() {
		if k.apiVersion == apiVersion && k.kind == kind {
			return &k
		}
	}
	return nil
}

// unknownKind says what is wrong with the apiVersion and kind of a document that is not read.
func unknownKind(value map[string]any) remark {
	for _, name := range []string{"apiVersion", "kind"} {
		switch text := value[name].(type) {
		case nil:
			return remark{path: name, message: missing}
		case string:
			if text == "" {
				return remark{path: name, message: "is empty"}
			}
		default:
			return remark{path: name, message: wrongType(text, "a string")}
		}
	}
	apiVersion, kind := fmt.Sprint(value["apiVersion"]), fmt.Sprint(value["kind"])
	var names []string
	for _, k := range kinds() {
		if k.kind == kind {
			return remark{path: "apiVersion", message: fmt.Sprintf("%q has no %s that is read here; use %s", apiVersion, kind, k.apiVersion)}
		}
		names = append(names, k.kind)
	}
	message := fmt.Sprintf("%q of %s is none of the kinds that are read here: %s", kind, apiVersion, strings.Join(names, ", "))
	if near := nearest(kind, names); near != "" {
		message = fmt.Sprintf("%q is not a kind of %s; did you mean %s?", kind, apiVersion, near)
	}
	return remark{path: "kind", message: message}
}

// checkMeta checks metadata as the server does on create, with the namespace filled in as a client does.
func checkMeta(k *kindInfo, meta metav1.Object) (remarks []remark) {
	for _, err := range validation.ValidateObjectMetaAccessor(meta, true, k.validName, field.NewPath("metadata")) {
		switch {
		case err.Field == "metadata.name" && err.Type == field.ErrorTypeRequired:
			message := missing
			if meta.GetGenerateName() != "" {
				message = "generateName names an object anew each time; a manifest needs a name"
			}
			remarks = append(remarks, remark{path: err.Field, message: message})
		case err.Field == "metadata.name":
			remarks = append(remarks, remark{path: err.Field, message: notA(meta.GetName(), k.nameWords)})
		case err.Field == "metadata.namespace":
			remarks = append(remarks, remark{path: err.Field, message: notA(meta.GetNamespace(), labelWords)})
		default:
			remarks = append(remarks, remark{path: err.Field, message: err.ErrorBody()})
		}
	}
	return remarks
}
