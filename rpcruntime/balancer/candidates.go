// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package balancer

// Candidates are the endpoints of a service that calls may go to, as the
// registry and the evidence of former calls have it. They are immutable.
type Candidates struct {
	// primary is what Pickers choose from.
	primary []*EndpointState
	// last are suspects, for when primary has nothing: docs/registry-protocol.md, suspects.
	last []*EndpointState
}

// Size returns how many endpoints there are to choose from at most.
func (c Candidates) Size() int {
	if len(c.primary) == 0 {
		return len(c.last)
	}
	return len(c.primary)
}

// Usable returns the endpoints that calls may go to:
//
//   - those that are ready;
//   - draining ones only if none is ready;
//   - suspects that answered on the connection that still stands, and only while
//     suspects are more than half of the endpoints that are not terminating;
//   - when nothing else is left, suspects that answered once.
//
// Evidence that a suspect loses counts at once, in Pickers already built too.
// Evidence that it gains counts from the next call of Usable on.
func (t *Table) Usable() Candidates {
	ready, draining, suspect := t.lists[kindReady], t.lists[kindDraining], t.lists[kindSuspect]
	c := Candidates{primary: ready, last: suspect}
	if len(ready) == 0 {
		c.primary = draining
	}
	if !massLoss(len(ready), len(suspect)) {
		return c
	}
	var trusted []*EndpointState
	for _, s := range suspect {
		if evident(s.marks.Load()) {
			trusted = append(trusted, s)
		}
	}
	if len(trusted) > 0 {
		c.primary = edit(c.primary, nil, trusted)
	}
	return c
}

// massLoss reports whether suspects are more than half of the endpoints that
// are not terminating: more than is believable, so evidence counts against it.
func massLoss(ready, suspect int) bool { return suspect > ready }
