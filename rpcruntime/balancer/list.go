// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package balancer

// pageBits: a page of 128 pointers is 1 KiB. Smaller ones make the slice of pages
// long, larger ones are much to copy for one change.
const (
	pageBits = 7
	pageSize = 1 << pageBits
)

type page [pageSize]*EndpointState

// list is a sequence of endpoints in no order of meaning. It is immutable: Pickers
// share it. A change makes a new one, which shares all pages but those that
// differ. For one endpoint of 10,000 that is 2 KiB or two, where the copy of a
// slice is 80.
//
// The zero list is empty.
type list struct {
	// Invariant: len(pages) is n divided by pageSize, rounded up.
	pages []*page
	n     int
}

// at is element i, 0 <= i < n.
func (l *list) at(i int) *EndpointState { return l.pages[i>>pageBits][i&(pageSize-1)] }

// edit begins a changed copy.
func (l *list) edit() draft {
	return draft{
		list: list{pages: append(make([]*page, 0, len(l.pages)+1), l.pages...), n: l.n},
		own:  make([]bool, len(l.pages), len(l.pages)+1),
	}
}

// draft is a list in the making. Its list must not be shared before the last change.
type draft struct {
	list
	// Invariant: own[i] means that nobody else has pages[i]; as long as pages.
	own []bool
}

// set replaces element i, in a page of the draft's own.
func (d *draft) set(i int, s *EndpointState) {
	p := i >> pageBits
	if !d.own[p] {
		mine := *d.pages[p]
		d.pages[p], d.own[p] = &mine, true
	}
	d.pages[p][i&(pageSize-1)] = s
}

// add appends an endpoint, and returns its place.
func (d *draft) add(s *EndpointState) int {
	i := d.n
	if i>>pageBits == len(d.pages) {
		d.pages, d.own = append(d.pages, new(page)), append(d.own, true)
	}
	d.n++
	d.set(i, s)
	return i
}

// remove takes element i out. The last one comes into its place, and is returned.
func (d *draft) remove(i int) (moved *EndpointState) {
	d.n--
	moved = d.at(d.n)
	if d.n&(pageSize-1) == 0 {
		last := len(d.pages) - 1
		d.pages[last] = nil
		d.pages, d.own = d.pages[:last], d.own[:last]
	} else {
		d.set(d.n, nil) // so that it is not held on to
	}
	if i < d.n {
		d.set(i, moved)
	}
	return moved
}
