// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package manifest

import (
	"fmt"
	"maps"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairlead/fairlead/api/v1alpha1"
)

// Report is what Lint has to say.
type Report struct {
	Findings []Finding
	// Files and Objects count what was read, and what of it is free of errors.
	Files, Objects int
}

// Errors is the number of findings that the API server would refuse, or that no file may have.
func (r *Report) Errors() int {
	n := 0
	for _, f := range r.Findings {
		if f.Severity == Error {
			n++
		}
	}
	return n
}

// Lint reads a folder of manifests, or a single file, as Load does, and also warns of what is valid and will not do what
// it seems to say: references that lead to nothing within these manifests, and limits that cannot tell callers apart.
// The error is about the path itself.
func Lint(path string) (Report, error) {
	t := newTracker(0)
	t.keepSources = true
	if err := t.load(path); err != nil {
		return Report{}, err
	}
	l := linter{objects: make(map[identity]*object), broken: make(map[identity]bool)}
	for _, path := range slices.Sorted(maps.Keys(t.files)) {
		l.add(t.files[path].parsed)
	}
	unresolved, err := l.references()
	if err != nil {
		return Report{}, err
	}
	findings := slices.Concat(t.findings, unresolved, l.callers())
	return Report{Findings: sortFindings(findings), Files: len(t.files), Objects: len(l.objects)}, nil
}

// linter looks at all valid documents together, also those whose file is refused for another one: what they name is
// there, and will count once the file is mended.
type linter struct {
	objects map[identity]*object
	// broken are refused objects. What names them leads somewhere.
	broken map[identity]bool
}

func (l *linter) add(p *parsed) {
	for _, o := range p.objects {
		if l.objects[o.id] == nil {
			l.objects[o.id] = o
		}
	}
	for _, id := range p.broken {
		l.broken[id] = true
	}
}

// each calls f with every object of a kind, in order.
func each[T metav1.Object](l *linter, kind string, f func(*object, T)) {
	for _, id := range slices.SortedFunc(maps.Keys(l.objects), identity.compare) {
		if typed, ok := l.objects[id].typed.(T); ok && id.kind == kind {
			f(l.objects[id], typed)
		}
	}
}

// callers warns of limits by caller that believe only proven names: nothing proves a name in this version.
func (l *linter) callers() (findings []Finding) {
	each(l, v1alpha1.KindRPCLimitPolicy, func(o *object, p *v1alpha1.RPCLimitPolicy) {
		for i, limit := range p.Spec.Limits {
			byCaller := limit.By != nil && *limit.By == v1alpha1.LimitByCaller
			if !byCaller || limit.CallerNames != nil && *limit.CallerNames == v1alpha1.CallerNamesDeclared {
				continue
			}
			path := fmt.Sprintf("spec.limits[%d].callerNames", i)
			if limit.CallerNames == nil {
				path = fmt.Sprintf("spec.limits[%d].by", i)
			}
			findings = append(findings, o.source.finding(Warning, path,
				"callers' names are not proven in this version, so all callers share one count; use callerNames: Declared to tell them apart by the names they give"))
		}
	})
	return findings
}
