// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package compile

import "container/list"

// recent is a set of names that knows which was added longest ago.
type recent struct {
	order list.List // of Key, the oldest first
	at    map[Key]*list.Element
}

func newRecent() *recent { return &recent{at: map[Key]*list.Element{}} }

func (r *recent) len() int { return len(r.at) }

// add makes a name the newest.
func (r *recent) add(k Key) {
	r.remove(k)
	r.at[k] = r.order.PushBack(k)
}

func (r *recent) remove(k Key) {
	if e := r.at[k]; e != nil {
		r.order.Remove(e)
		delete(r.at, k)
	}
}

// removeOldest removes the oldest name and gives it. REQUIRES: there is one.
func (r *recent) removeOldest() Key {
	oldest := r.order.Front().Value.(Key) //nolint:errcheck // add alone adds, and Keys only
	r.remove(oldest)
	return oldest
}
