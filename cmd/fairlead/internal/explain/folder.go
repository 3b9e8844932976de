// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package explain

import (
	"fmt"

	"github.com/fairlead/fairlead/api/v1alpha1"
	"github.com/fairlead/fairlead/internal/compile"
	"github.com/fairlead/fairlead/internal/manifest"
)

// ManifestError are those that the API server would not take.
type ManifestError struct{ Findings []manifest.Finding }

func (e *ManifestError) Error() string {
	more := ""
	if n := len(e.Findings) - 1; n > 0 {
		more = fmt.Sprintf(" (and %d more: fairlead lint lists them)", n)
	}
	return e.Findings[0].String() + more
}

// ReadFolder reads a folder of manifests, or a file. What is there is taken as
// the standalone control plane takes it.
func ReadFolder(path string) (*World, error) {
	set, findings, err := manifest.Load(path)
	if err != nil {
		return nil, err
	}
	var broken []manifest.Finding
	for _, f := range findings {
		if f.Severity == manifest.Error {
			broken = append(broken, f)
		}
	}
	if len(broken) > 0 {
		return nil, &ManifestError{broken}
	}
	w := &World{objects: compile.NewObjects(compile.Mode{Registered: true}), offline: true}
	changed, _ := set.Since(manifest.Set{})
	for _, o := range changed {
		if _, err := w.objects.Set(o, 0); err != nil {
			return nil, err
		}
	}
	return w, nil
}

// selects says whether labels of namespaces say who may subscribe.
func selects(s *v1alpha1.RPCService) bool {
	return s.Spec.Consumers != nil && s.Spec.Consumers.Namespaces.From == v1alpha1.FromSelector
}

// admit lets everybody subscribe, for an answer that says what a caller gets if
// it may: who knows no labels cannot know whether.
func (w *World) admit(s *v1alpha1.RPCService) error {
	open := s.DeepCopy()
	open.Spec.Consumers = nil
	w.unsure = true
	_, err := w.objects.Set(open, 0)
	return err
}
