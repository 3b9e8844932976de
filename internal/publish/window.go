// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package publish

import (
	"time"

	"github.com/vmihailenco/msgpack/v5"

	"github.com/fairlead/fairlead/rpcruntime/policy"
)

// The merging of changes. docs/registry-protocol.md §4
const (
	minWindow = 10 * time.Millisecond
	maxWindow = 50 * time.Millisecond
)

// window decides when a change of one service goes out: at once when it was
// quiet, and merged with others while they keep coming.
//
// Invariant: minWindow <= width <= maxWindow once something went out.
type window struct {
	last  time.Time
	width time.Duration
}

// due says when a change that came now may go out.
func (w *window) due(now time.Time) time.Time {
	if at := w.last.Add(w.width); now.Before(at) {
		return at
	}
	return now
}

// released notes that something went out; merged says that it had to wait, so
// that more is likely to come.
func (w *window) released(now time.Time, merged bool) {
	w.last = now
	if merged {
		w.width = min(maxWindow, 2*w.width)
	} else {
		w.width = minWindow
	}
}

// urgent says whether a change takes away an endpoint that callers may be using:
// gone, or draining now. Such a change is never held back.
func urgent(old, next *policy.Part) bool {
	if old == nil || next == nil {
		return false
	}
	items := make(map[string]*policy.Item, len(next.Items))
	for i := range next.Items {
		items[next.Items[i].ID] = &next.Items[i]
	}
	for i := range old.Items {
		before := &old.Items[i]
		after := items[before.ID]
		switch {
		case after == nil:
			return true
		case string(before.Bytes) == string(after.Bytes):
		case endpointState(before) != policy.Draining && endpointState(after) == policy.Draining:
			return true
		}
	}
	return false
}

// endpointState reads the state of an endpoint that this process encoded.
func endpointState(item *policy.Item) policy.EndpointState {
	var e struct {
		State policy.EndpointState `msgpack:"s"`
	}
	if err := msgpack.Unmarshal(item.Bytes, &e); err != nil {
		return policy.Draining // not an endpoint: nothing to be taken away
	}
	return e.State
}
