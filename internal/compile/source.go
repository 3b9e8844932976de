// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package compile

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairlead/fairlead/api/v1alpha1"
	"github.com/fairlead/fairlead/rpcruntime/policy"
)

// verdict is a condition before it knows whose it is.
type verdict struct {
	status  metav1.ConditionStatus
	reason  string
	message string
}

func yes(reason, format string, args ...any) verdict {
	return verdict{metav1.ConditionTrue, reason, fmt.Sprintf(format, args...)}
}

func no(reason, format string, args ...any) verdict {
	return verdict{metav1.ConditionFalse, reason, fmt.Sprintf(format, args...)}
}

func (v verdict) condition(kind string, generation int64) metav1.Condition {
	return metav1.Condition{Type: kind, Status: v.status, Reason: v.reason, Message: v.message, ObservedGeneration: generation}
}

// accept says whether the control plane takes up the RPCService, and gives its
// methods and consumers.
func accept(in *ServiceInput) (policy.Methods, []string, verdict) {
	methods, err := methodsOf(in.RPCService)
	if err != nil {
		return policy.Methods{}, nil, no(v1alpha1.ReasonInvalid, "%v", err)
	}
	consumers, err := consumersOf(in)
	if err != nil {
		return methods, nil, no(v1alpha1.ReasonInvalid, "%v", err)
	}
	source := in.RPCService.Spec.Source
	switch {
	case source.Type == v1alpha1.SourceService && source.Service == nil:
		return methods, consumers, no(v1alpha1.ReasonInvalid, "spec.source.service is missing")
	case source.Type == v1alpha1.SourceService:
	case source.Type == v1alpha1.SourceRegistered && in.Mode.Registered:
	default:
		return methods, consumers, no(v1alpha1.ReasonUnsupportedSource,
			"spec.source.type %q is not offered by this control plane; use %s", source.Type, v1alpha1.SourceService)
	}
	return methods, consumers, yes(v1alpha1.ReasonAccepted, "the service is taken up")
}

func methodsOf(s *v1alpha1.RPCService) (policy.Methods, error) {
	m := policy.Methods{RefuseUndeclared: deref(s.Spec.UndeclaredMethods) == v1alpha1.UndeclaredMethodsRefuse}
	for _, declared := range s.Spec.Methods {
		m.Declared = append(m.Declared, policy.Method{
			Name:       string(declared.Name),
			Idempotent: deref(declared.Idempotency) == v1alpha1.Idempotent,
		})
	}
	slices.SortFunc(m.Declared, func(a, b policy.Method) int { return strings.Compare(a.Name, b.Name) })
	for i := 1; i < len(m.Declared); i++ {
		if m.Declared[i-1].Name == m.Declared[i].Name {
			return policy.Methods{}, fmt.Errorf("spec.methods: %q stands twice", m.Declared[i].Name)
		}
	}
	if err := m.Validate(); err != nil {
		return policy.Methods{}, fmt.Errorf("spec.methods: %w", err)
	}
	return m, nil
}

// resolve finds the Service and the name of its port; ok says whether there can
// be endpoints.
func resolve(in *ServiceInput) (port string, ok bool, v verdict) {
	source := in.RPCService.Spec.Source
	if source.Type == v1alpha1.SourceRegistered {
		return "", true, yes(v1alpha1.ReasonResolvedRefs, "instances register themselves")
	}
	name := Key{Namespace: in.Key.Namespace, Name: source.Service.Name}
	switch {
	case in.Service == nil || KeyOf(in.Service) != name:
		return "", false, no(v1alpha1.ReasonServiceNotFound, "Service %s does not exist", name)
	case in.Service.Spec.Type == corev1.ServiceTypeExternalName:
		return "", false, no(v1alpha1.ReasonUnsupportedServiceType,
			"Service %s is of type ExternalName, which has no endpoints; use one with a selector or with EndpointSlices", name)
	}
	port, v = resolvePort(in.Service, source.Service.Port)
	return port, v.status == metav1.ConditionTrue, v
}

func resolvePort(service *corev1.Service, wanted *string) (string, verdict) {
	var names []string
	for _, p := range service.Spec.Ports {
		if p.Protocol == corev1.ProtocolTCP || p.Protocol == "" {
			names = append(names, p.Name)
		}
	}
	slices.Sort(names)
	name := KeyOf(service)
	switch {
	case len(names) == 0:
		return "", no(v1alpha1.ReasonPortNotFound, "Service %s has no TCP port", name)
	case wanted != nil && !slices.Contains(names, *wanted):
		return "", no(v1alpha1.ReasonPortNotFound, "Service %s has no TCP port %q; it has %s", name, *wanted, listed(names))
	case wanted != nil:
		return *wanted, yes(v1alpha1.ReasonResolvedRefs, "Service %s, port %q", name, *wanted)
	case len(names) > 1:
		return "", no(v1alpha1.ReasonPortAmbiguous,
			"Service %s has several TCP ports, %s; name one in spec.source.service.port", name, listed(names))
	default:
		return names[0], yes(v1alpha1.ReasonResolvedRefs, "Service %s, its only TCP port", name)
	}
}

// listed writes the first few of names that are sorted.
func listed(names []string) string {
	const most = 5
	if len(names) <= most {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), len(names)-most)
}

// KeyOf gives an object's namespace and name.
func KeyOf(o metav1.Object) Key { return Key{Namespace: o.GetNamespace(), Name: o.GetName()} }
