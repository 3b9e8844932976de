// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

// Package observe follows the objects of one kind and keeps none of them: whoever
// asks keeps what it needs.
//
// It does not decide anything, and it does not cache.
//
// Main flow: Run lists and watches, by a reflector, and hands each object to the
// Keeper, until its context ends. What fails is tried again, at most 8 s later.
//
// Concurrency: a Keeper is called by one goroutine.
//
// Invariants: Replace comes before all others, and once more whenever the watch
// has to begin again.
//
// Errors are logged and tried again.
//
// Zero values: an Options needs a Client, a Resource and an Example.
package observe

import (
	"context"
	"time"

	"github.com/go-logr/logr"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/rest"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// Keeper is told of objects. They are its own.
type Keeper[T client.Object] interface {
	// Replace gives all there are.
	Replace(all []T)
	// Set gives one that is new, or has changed.
	Set(o T)
	// Delete gives the last state of one that is gone.
	Delete(o T)
}

// Options say what is followed.
type Options[T client.Object] struct {
	// Client reaches the API group of Resource.
	Client rest.Interface
	// Resource is the plural name, Example an empty object.
	Resource string
	Example  T
	// Namespace and Name limit it; empty for all.
	Namespace, Name string
	// Trim takes away what nobody reads; nil leaves all.
	Trim func(T)
	// Log gets what fails. The zero Logger discards.
	Log logr.Logger
}

// Run follows until ctx ends.
func Run[T client.Object](ctx context.Context, o Options[T], keeper Keeper[T]) {
	selector := fields.Everything()
	if o.Name != "" {
		selector = fields.OneTermEqualSelector(metav1.ObjectNameField, o.Name)
	}
	lw := toolscache.NewListWatchFromClient(o.Client, o.Resource, o.Namespace, selector)
	reflector := toolscache.NewReflectorWithOptions(lw, o.Example, &store[T]{keeper, o.Trim}, toolscache.ReflectorOptions{
		Logger: &o.Log, Name: o.Resource,
		Backoff: &wait.Backoff{Duration: 500 * time.Millisecond, Factor: 2, Jitter: 0.5, Steps: 16, Cap: 8 * time.Second},
	})
	reflector.RunWithContext(ctx)
}

// store is where a reflector stores: it keeps nothing.
type store[T client.Object] struct {
	keeper Keeper[T]
	trim   func(T)
}

func (s *store[T]) typed(object any) (T, bool) {
	o, ok := object.(T)
	if ok {
		o.SetManagedFields(nil)
		if s.trim != nil {
			s.trim(o)
		}
	}
	return o, ok
}

// Add hands on an object.
func (s *store[T]) Add(object any) error {
	if o, ok := s.typed(object); ok {
		s.keeper.Set(o)
	}
	return nil
}

// Update hands on an object.
func (s *store[T]) Update(object any) error { return s.Add(object) }

// Delete hands on the last state of an object.
func (s *store[T]) Delete(object any) error {
	if o, ok := s.typed(object); ok {
		s.keeper.Delete(o)
	}
	return nil
}

// Replace hands on a list.
func (s *store[T]) Replace(list []any, _ string) error {
	all := make([]T, 0, len(list))
	for _, object := range list {
		if o, ok := s.typed(object); ok {
			all = append(all, o)
		}
	}
	s.keeper.Replace(all)
	return nil
}

// Resync has nothing to do: nothing is stored.
func (s *store[T]) Resync() error { return nil }

// Transformer trims already what a list that is streamed collects.
func (s *store[T]) Transformer() toolscache.TransformFunc {
	return func(object any) (any, error) {
		s.typed(object)
		return object, nil
	}
}
