// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package gather

import (
	"fmt"

	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// sink is where a reflector stores: it keeps nothing and makes events. It has
// one caller, the reflector of its kind.
type sink struct {
	kind string
	emit func(Event)
}

var (
	_ toolscache.TransformingStore      = (*sink)(nil)
	_ toolscache.ReflectorBookmarkStore = (*sink)(nil)
)

// Add hands on an object that is new, or was not known to this watch.
func (s *sink) Add(object any) error { return s.change(Set, object) }

// Update hands on the new state of an object.
func (s *sink) Update(object any) error { return s.change(Set, object) }

// Delete hands on the last state of an object; its revision is the deletion's.
func (s *sink) Delete(object any) error { return s.change(Delete, object) }

func (s *sink) change(op Op, object any) error {
	o, ok := object.(client.Object)
	if !ok {
		return fmt.Errorf("the watch of %s gave a %T", s.kind, object)
	}
	trim(o)
	s.emit(Event{Kind: s.kind, Op: op, Object: o, Revision: Revision(o.GetResourceVersion())})
	return nil
}

// Replace hands on a list.
func (s *sink) Replace(list []any, resourceVersion string) error {
	objects := make([]client.Object, 0, len(list))
	for _, object := range list {
		o, ok := object.(client.Object)
		if !ok {
			return fmt.Errorf("the list of %s gave a %T", s.kind, object)
		}
		trim(o)
		objects = append(objects, o)
	}
	s.emit(Event{Kind: s.kind, Op: List, Objects: objects, Revision: Revision(resourceVersion)})
	return nil
}

// Bookmark hands on a revision.
func (s *sink) Bookmark(resourceVersion string) error {
	s.emit(Event{Kind: s.kind, Op: Mark, Revision: Revision(resourceVersion)})
	return nil
}

// Resync has nothing to do: nothing is stored.
func (s *sink) Resync() error { return nil }

// Transformer trims already what a list that is streamed collects.
func (s *sink) Transformer() toolscache.TransformFunc {
	return func(object any) (any, error) {
		if o, ok := object.(client.Object); ok {
			trim(o)
		}
		return object, nil
	}
}
