// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package crd

import (
	"context"
	"time"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead/fairlead/api/v1alpha1"
)

// State is what a definition is found to be.
type State uint8

const (
	// Unreadable: the API server did not answer, or refused.
	Unreadable State = iota
	// Standing: it exists and stays.
	Standing
	// Terminating: it is being deleted, and so are its objects.
	Terminating
	// Missing: it does not exist.
	Missing
)

// String names the state.
func (s State) String() string {
	switch s {
	case Standing:
		return "standing"
	case Terminating:
		return "terminating"
	case Missing:
		return "missing"
	default:
		return "unreadable"
	}
}

// Reading is what was read of a definition.
type Reading struct {
	State State
	// UID and Created are those of a definition that is Standing.
	UID     types.UID
	Created time.Time
	// Err is why it is Unreadable.
	Err error
}

// Verdict is what follows for deletions that were seen before the reading.
type Verdict uint8

const (
	// Wait: it cannot be told; ask again.
	Wait Verdict = iota
	// Believe: somebody deleted the objects.
	Believe
	// Freeze: the objects went with their definition; nobody meant the services.
	Freeze
)

// Judge draws the conclusion. before is the UID of the definition as it was last
// found standing; empty when it never was.
func Judge(before types.UID, now Reading) Verdict {
	switch {
	case now.State == Unreadable:
		return Wait
	case now.State == Standing && (before == "" || before == now.UID):
		return Believe
	default:
		return Freeze
	}
}

// readTimeout bounds one reading.
const readTimeout = 10 * time.Second

// Reader reads definitions.
type Reader struct {
	// Live reads from the API server, never from a cache.
	Live client.Reader
}

// +kubebuilder:rbac:groups=apiextensions.k8s.io,resources=customresourcedefinitions,resourceNames=rpcservices.rpc.fairlead.dev;rpccallpolicies.rpc.fairlead.dev;rpclimitpolicies.rpc.fairlead.dev,verbs=get

// Read reads the definition of one of our resources, such as rpcservices.
func (r Reader) Read(ctx context.Context, resource string) Reading {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	definition := metav1.PartialObjectMetadata{}
	definition.SetGroupVersionKind(apiextensionsv1.SchemeGroupVersion.WithKind("CustomResourceDefinition"))
	err := r.Live.Get(ctx, client.ObjectKey{Name: resource + "." + v1alpha1.GroupName}, &definition)
	switch {
	case apierrors.IsNotFound(err):
		return Reading{State: Missing}
	case err != nil:
		return Reading{State: Unreadable, Err: err}
	case definition.DeletionTimestamp != nil:
		return Reading{State: Terminating}
	default:
		return Reading{State: Standing, UID: definition.UID, Created: definition.CreationTimestamp.Time}
	}
}
