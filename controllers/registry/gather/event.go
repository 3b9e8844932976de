// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package gather

import (
	"strconv"

	"sigs.k8s.io/controller-runtime/pkg/client"
)

// Op says what happened.
type Op uint8

const (
	// List replaces all objects of a kind.
	List Op = iota
	// Set adds an object, or replaces the one of its name.
	Set
	// Delete removes an object.
	Delete
	// Mark says that nothing has happened up to a revision.
	Mark
)

// Event is one change of one kind.
type Event struct {
	Kind string
	Op   Op
	// Object is the new state for Set, the last one for Delete.
	Object client.Object
	// Objects are all there are, for List.
	Objects []client.Object
	// Revision is that of the change: it covers everything of the kind that
	// came before. 0 if the API server gave none that is a number.
	Revision uint64
}

// Revision reads a resourceVersion; 0 when it is no number.
func Revision(resourceVersion string) uint64 {
	n, err := strconv.ParseUint(resourceVersion, 10, 64)
	if err != nil {
		return 0
	}
	return n
}
