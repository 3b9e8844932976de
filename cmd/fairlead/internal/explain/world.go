// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package explain

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/types"

	"github.com/fairlead/fairlead/api/v1alpha1"
	"github.com/fairlead/fairlead/internal/compile"
)

// Key names an object.
type Key = types.NamespacedName

// World is what was read to answer a question.
type World struct {
	objects *compile.Objects
	// offline: it comes from manifests, and nobody writes statuses.
	offline bool
	// notRead are the rights that were missing.
	notRead []NotRead
	// noDigest: something could not be read that digests are made of.
	noDigest bool
	// noPolicy: call policies could not be read.
	noPolicy bool
	// unsure: whether the caller may subscribe is not known.
	unsure bool
}

// NotRead is something that whoever asks has no right to read.
type NotRead struct {
	Verb     string `json:"verb"`
	Resource string `json:"resource"`
	// Namespace is empty for all of them, and for what has none.
	Namespace string `json:"namespace,omitempty"`
	// Without says what is not known for it.
	Without string `json:"without"`
}

func (n *NotRead) String() string {
	where := ""
	if n.Namespace != "" {
		where = " in namespace " + n.Namespace
	}
	return fmt.Sprintf("you may not %s %s%s: %s", n.Verb, n.Resource, where, n.Without)
}

// service gives an RPCService, or says which ones there are.
func (w *World) service(key Key) (*v1alpha1.RPCService, error) {
	if s := w.objects.RPCService(key); s != nil {
		return s, nil
	}
	return nil, notFoundService(key, w.objects.Services(), w.offline)
}

// NotFoundError is a service or a method that is not there.
type NotFoundError struct {
	message string
	// Near are names that may have been meant.
	Near []string
}

func (e *NotFoundError) Error() string {
	if len(e.Near) > 0 {
		return e.message + "; did you mean " + strings.Join(e.Near, " or ") + "?"
	}
	return e.message
}

func notFoundService(key Key, known []Key, offline bool) *NotFoundError {
	var names, namesakes []string
	for _, k := range known {
		names = append(names, k.String())
		if k.Name == key.Name {
			namesakes = append(namesakes, k.String())
		}
	}
	e := &NotFoundError{message: fmt.Sprintf("there is no RPCService %s", key)}
	if offline {
		e.message += " in these manifests"
	}
	e.Near = bounded(slices.Compact(slices.Sorted(slices.Values(append(near(key.String(), names), namesakes...)))))
	if len(e.Near) == 0 && len(names) > 0 {
		e.message += "; there is " + strings.Join(bounded(names), ", ")
	}
	return e
}

// UnservedError is a service that is there and that the control plane does not take
// up.
type UnservedError struct {
	Service Key
	// Why is the condition's message.
	Why string
}

func (e *UnservedError) Error() string {
	return fmt.Sprintf("RPCService %s is not served, so no policy is in force for it: %s", e.Service, e.Why)
}

// most bounds how many names a message lists.
const most = 5

func bounded(names []string) []string { return names[:min(len(names), most)] }

// near gives what differs by little from a name, by the same measure as commands
// that are mistyped.
func near(name string, names []string) []string {
	measure := &cobra.Command{SuggestionsMinimumDistance: 2}
	for _, n := range names {
		measure.AddCommand(&cobra.Command{Use: n, Run: func(*cobra.Command, []string) {}})
	}
	return bounded(measure.SuggestionsFor(name))
}

// listOf copies a list; one that is empty is not null in JSON.
func listOf[T any](of []T) []T { return append([]T{}, of...) }
