// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package compile

import (
	"fmt"
	"slices"
	"strings"

	"github.com/fairlead/fairlead/api/v1alpha1"
	"github.com/fairlead/fairlead/rpcruntime/policy"
)

// layers has the attached call policies of one service by who is bound by them.
type layers struct {
	owner []policy.Layer
	// overlays are by the namespace of the callers.
	overlays map[string][]policy.Layer
}

func layersOf(all []attachment) layers {
	l := layers{overlays: map[string][]policy.Layer{}}
	for i := range all {
		a := &all[i]
		switch {
		case !a.attached || a.target.Kind != KindRPCCallPolicy:
		case a.target.Policy.Namespace == a.target.Service.Namespace:
			l.owner = append(l.owner, a.layer)
		default:
			l.overlays[a.target.Policy.Namespace] = append(l.overlays[a.target.Policy.Namespace], a.layer)
		}
	}
	return l
}

// namespaces gives those of callers with policies of their own, sorted.
func (l *layers) namespaces() []string {
	names := make([]string, 0, len(l.overlays))
	for n := range l.overlays {
		names = append(names, n)
	}
	slices.Sort(names)
	return names
}

// fate is what became of one field that one target's layer sets.
type fate struct {
	// inForce: some caller makes some call with it.
	inForce bool
	// lost says what overrides it where the layer itself applies first; fell
	// says where it first could not be used, and why.
	lost, fell string
}

// fates are by target and by the field's name.
type fates map[Target]map[string]*fate

func (f fates) of(t Target, field string) *fate {
	if f[t] == nil {
		f[t] = map[string]*fate{}
	}
	if f[t][field] == nil {
		f[t][field] = &fate{}
	}
	return f[t][field]
}

// judgeLayers merges as clients will: for callers without policies of their
// own and for each namespace that has some; for each method that a layer names
// and for all others together. A field has lost when it is in force nowhere: a
// policy that others refine for a method, or for some callers, has lost nothing.
func judgeLayers(service Key, l layers) fates {
	f := fates{}
	f.view(service, "", l.owner)
	for _, namespace := range l.namespaces() {
		f.view(service, namespace, slices.Concat(l.owner, l.overlays[namespace]))
	}
	return f
}

// view adds what callers of a namespace see; it is empty for those without
// policies of their own.
func (f fates) view(service Key, namespace string, layers []policy.Layer) {
	snapshot := policy.Snapshot{Layers: layers}
	for _, method := range append([]string{""}, snapshot.LayeredMethods()...) {
		e := snapshot.Effective(method)
		target := func(step policy.Step, s policy.Source) Target {
			t := Target{Kind: s.Kind, Policy: Key{Namespace: s.Namespace, Name: s.Name}, Service: service}
			if step == policy.StepOwnerMethod || step == policy.StepCallerMethod {
				t.Section = method
			}
			return t
		}
		for _, field := range e.Fields {
			if field.Step == policy.StepDefault {
				continue
			}
			f.of(target(field.Step, field.Source), field.Name).inForce = true
			for _, was := range field.InsteadOf {
				if was.Step == policy.StepDefault {
					continue
				}
				if fate := f.of(target(was.Step, was.Source), field.Name); fate.lost == "" {
					fate.lost = fmt.Sprintf("%s %s is overridden by %s %s/%s (%s)", field.Name, was.Value,
						field.Source.Kind, field.Source.Namespace, field.Source.Name, field.Value)
				}
			}
		}
		for _, b := range e.Fallbacks {
			if fate := f.of(target(b.Step, b.Source), b.Field); fate.fell == "" {
				fate.fell = fmt.Sprintf("%s %s is not in force%s: %s", b.Field, b.Value, where(method, namespace), b.Reason)
			}
		}
	}
}

func where(method, namespace string) string {
	switch {
	case method == "" && namespace == "":
		return ""
	case method == "":
		return " for callers in " + namespace
	case namespace == "":
		return " for " + method
	default:
		return " for " + method + " called from " + namespace
	}
}

// programmed says what became of all fields of a target's layer.
func (f fates) programmed(t Target) verdict {
	names := make([]string, 0, len(f[t]))
	for name := range f[t] {
		names = append(names, name)
	}
	slices.Sort(names)
	inForce := 0
	var trouble []string
	for _, name := range names {
		switch fate := f[t][name]; {
		case fate.inForce && fate.fell == "":
			inForce++
		case fate.inForce:
			inForce++
			trouble = append(trouble, fate.fell)
		case fate.fell != "":
			trouble = append(trouble, fate.fell)
		default:
			trouble = append(trouble, fate.lost)
		}
	}
	message := strings.Join(trouble, "; ")
	switch {
	case len(trouble) == 0:
		return yes(v1alpha1.ReasonProgrammed, "compiled and served")
	case inForce == 0:
		return no(v1alpha1.ReasonOverridden, "%s", message)
	default:
		return yes(v1alpha1.ReasonPartiallyProgrammed, "%s", message)
	}
}
