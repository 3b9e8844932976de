// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"errors"
	"fmt"
)

// ItemError says which item of which part is broken. Unwrap gives the cause.
type ItemError struct {
	Part, Item string
	Err        error
}

func (e *ItemError) Error() string {
	return fmt.Sprintf("part %.100q, item %.100q: %v", e.Part, e.Item, e.Err)
}

// Unwrap gives the cause.
func (e *ItemError) Unwrap() error { return e.Err }

// CriticalFieldError says that a newer registry marked something as critical
// that this runtime does not know: it keeps its last good state and needs an
// upgrade.
type CriticalFieldError struct {
	// Part holds it. Item is empty when the part itself is not known, Field
	// when the item is not.
	Part, Item, Field string
}

func (e *CriticalFieldError) Error() string {
	what := fmt.Sprintf("field %.100q of item %.100q in part %.100q", e.Field, e.Item, e.Part)
	switch {
	case e.Item == "":
		what = fmt.Sprintf("part %.100q", e.Part)
	case e.Field == "":
		what = fmt.Sprintf("item %.100q in part %.100q", e.Item, e.Part)
	}
	return what + " is critical and this runtime does not know it; upgrade rpcruntime"
}

var (
	errTwice    = errors.New("the same id twice")
	errTooLarge = errors.New("too large")
)
