// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package crd

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"github.com/go-logr/logr"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/fairlead/fairlead/config/crd"
)

// Served finds out, when the operator starts, whether the API server serves
// our kinds with all fields that this operator compiles. A field that the
// definition does not have is dropped from objects in silence, and so would be
// what somebody wrote in it.
type Served struct {
	// Live reads from the API server, never from a cache.
	Live client.Reader
	// Log is told what is missing, each time that this changes.
	Log logr.Logger
	// Every is the time between two tries; default 5 s.
	Every time.Duration

	problem atomic.Pointer[string]
	suits   atomic.Bool
}

// Await returns once everything is served, or with ctx's error when that ends.
// It does not give up: whoever upgrades definitions and operator may do it in
// any order, and the replicas that run already go on meanwhile.
func (s *Served) Await(ctx context.Context) error {
	wanted, err := wantedDefinitions()
	if err != nil {
		return err
	}
	every := s.Every
	if every <= 0 {
		every = 5 * time.Second
	}
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		err := s.check(ctx, wanted)
		if err == nil {
			s.suits.Store(true)
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		text := err.Error()
		if before := s.problem.Swap(&text); before == nil || *before != text {
			s.Log.Info("waiting: the definitions in the cluster do not suit this operator", "problem", text)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Problem says what Await waits for; nil once it has returned without an error.
// It may be called from any goroutine.
func (s *Served) Problem() error {
	if s.suits.Load() {
		return nil
	}
	if text := s.problem.Load(); text != nil {
		return errors.New(*text)
	}
	return errors.New("the definitions in the cluster have not been read yet")
}

// check compares every wanted definition with the one that is served, and says
// all that is wrong at once.
func (s *Served) check(ctx context.Context, wanted []*apiextensionsv1.CustomResourceDefinition) error {
	var problems []error
	for _, want := range wanted {
		served, err := s.read(ctx, want.Name)
		switch {
		case apierrors.IsNotFound(err):
			problems = append(problems, fmt.Errorf("the definition %s is not in the cluster: install the chart fairlead-crds, or config/crd", want.Name))
		case err != nil:
			problems = append(problems, fmt.Errorf("read the definition %s: %w", want.Name, err))
		default:
			if lacking := Lacking(served, want); len(lacking) > 0 {
				problems = append(problems, tooOld(served, lacking))
			}
		}
	}
	return errors.Join(problems...)
}

// listed bounds how many fields a message names.
const listed = 3

// tooOld says which chart made the definition, and what it lacks.
func tooOld(served *apiextensionsv1.CustomResourceDefinition, lacking []string) error {
	what := strings.Join(lacking[:min(listed, len(lacking))], ", ")
	if more := len(lacking) - listed; more > 0 {
		what = fmt.Sprintf("%s and %d more", what, more)
	}
	if chart := served.Labels["helm.sh/chart"]; chart != "" {
		return fmt.Errorf("the chart %s is too old for this operator: its definition %s lacks %s; upgrade it to the chart that came with the operator",
			chart, served.Name, what)
	}
	return fmt.Errorf("the definition %s, which no chart made, is too old for this operator: it lacks %s; apply the config/crd that came with the operator",
		served.Name, what)
}

// read takes a definition as text, so that the client needs no scheme for it.
func (s *Served) read(ctx context.Context, name string) (*apiextensionsv1.CustomResourceDefinition, error) {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	object := &unstructured.Unstructured{}
	object.SetGroupVersionKind(apiextensionsv1.SchemeGroupVersion.WithKind("CustomResourceDefinition"))
	if err := s.Live.Get(ctx, client.ObjectKey{Name: name}, object); err != nil {
		return nil, err
	}
	text, err := json.Marshal(object.Object)
	if err != nil {
		return nil, err
	}
	definition := &apiextensionsv1.CustomResourceDefinition{}
	return definition, json.Unmarshal(text, definition)
}

// wantedDefinitions are those that were generated with this operator.
func wantedDefinitions() ([]*apiextensionsv1.CustomResourceDefinition, error) {
	texts, err := crd.Definitions()
	if err != nil {
		return nil, err
	}
	wanted := make([]*apiextensionsv1.CustomResourceDefinition, len(texts))
	for i, text := range texts {
		wanted[i] = &apiextensionsv1.CustomResourceDefinition{}
		if err := yaml.Unmarshal(text, wanted[i]); err != nil {
			return nil, fmt.Errorf("the embedded definition %d: %w", i, err)
		}
	}
	return wanted, nil
}
