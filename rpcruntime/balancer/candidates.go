// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package balancer

// Candidates are the endpoints of a service that calls may go to, as the
// registry and the evidence of former calls have it. They are immutable.
type Candidates struct {
	// primary is what Pickers choose from.
	primary list
	// last are suspects, for when primary has nothing: docs/registry-protocol.md, suspects.
	last list
}

// Size returns how many endpoints there are to choose from at most.
func (c Candidates) Size() int {
	if c.primary.n == 0 {
		return c.last.n
	}
	return c.primary.n
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
	if ready.n == 0 {
		c.primary = draining
	}
	if !massLoss(ready.n, suspect.n) {
		return c
	}
	both := c.primary.edit()
	for i := range suspect.n {
		if s := suspect.at(i); evident(s.marks.Load()) {
			both.add(s)
		}
	}
	c.primary = both.list
	return c
}

// massLoss reports whether suspects are more than half of the endpoints that
// are not terminating: more than is believable, so evidence counts against it.
func massLoss(ready, suspect int) bool { return suspect > ready }
