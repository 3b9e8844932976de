// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package compile

import (
	"fmt"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/fairlead/fairlead/api/v1alpha1"
)

// consumersOf gives the namespaces whose callers may subscribe, sorted; nil for
// all. The service's own is always among them.
func consumersOf(in *ServiceInput) ([]string, error) {
	own := []string{in.Key.Namespace}
	if in.RPCService.Spec.Consumers == nil {
		return nil, nil
	}
	switch n := in.RPCService.Spec.Consumers.Namespaces; n.From {
	case v1alpha1.FromAll:
		return nil, nil
	case v1alpha1.FromSame:
		return own, nil
	case v1alpha1.FromSelector:
		selector, err := selectorOf(n.Selector)
		if err != nil {
			return nil, fmt.Errorf("spec.consumers.namespaces.selector: %w", err)
		}
		for _, namespace := range in.Namespaces {
			if selector.Matches(labels.Set(namespace.Labels)) {
				own = append(own, namespace.Name)
			}
		}
		slices.Sort(own)
		return slices.Compact(own), nil
	default:
		return nil, fmt.Errorf("spec.consumers.namespaces.from %q is none of %s, %s, %s",
			n.From, v1alpha1.FromAll, v1alpha1.FromSame, v1alpha1.FromSelector)
	}
}

// admits says whether callers of a namespace are among the consumers, which are
// sorted; nil admits all.
func admits(consumers []string, namespace string) bool {
	if consumers == nil {
		return true
	}
	_, found := slices.BinarySearch(consumers, namespace)
	return found
}

func selectorOf(s *v1alpha1.NamespaceSelector) (labels.Selector, error) {
	if s == nil {
		return labels.Nothing(), nil
	}
	var converted metav1.LabelSelector
	for key, value := range s.MatchLabels {
		if converted.MatchLabels == nil {
			converted.MatchLabels = map[string]string{}
		}
		converted.MatchLabels[key] = string(value)
	}
	for _, r := range s.MatchExpressions {
		want := metav1.LabelSelectorRequirement{Key: r.Key, Operator: metav1.LabelSelectorOperator(r.Operator)}
		for _, v := range r.Values {
			want.Values = append(want.Values, string(v))
		}
		converted.MatchExpressions = append(converted.MatchExpressions, want)
	}
	return metav1.LabelSelectorAsSelector(&converted)
}

// selects says whether labels of namespaces matter to the service.
func selects(s *v1alpha1.RPCService) bool {
	return s.Spec.Consumers != nil && s.Spec.Consumers.Namespaces.From == v1alpha1.FromSelector
}
