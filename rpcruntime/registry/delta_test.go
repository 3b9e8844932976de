// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package registry

import (
	"testing"
	"time"

	"github.com/fairlead/fairlead/rpcruntime/policy"
)

// What watchers get after a delta tells the difference to what they had; what
// came in full does not.
func TestDeltaTellsTheDifference(t *testing.T) {
	bubble(t, Config{}, func(t *testing.T, f *fake, c *Client) {
		var n notes
		c.Watch(arith, policy.Caller, &n)
		n.none(t)
		old := service(t, time.Second, "a", "b", "c")
		f.push(state(old, at(1))...)
		first := n.one(t, "changed").snap

		next := service(t, time.Second, "a", "b", "d")
		delta := PartFrame{
			Service: arith, Part: policy.PartEndpoints, Digest: next[0].Digest, Base: old[0].Digest,
			Items: next[0].Items[2:], Removed: []string{"c"}, Last: true,
		}
		pushes := state(next, at(2))
		f.push(&delta, pushes[2])
		second := n.one(t, "changed").snap
		changed, removed, known := second.EndpointsSince(first)
		if !known || len(changed) != 1 || changed[0].ID != "d" || len(removed) != 1 || removed[0] != "c" || len(second.Endpoints) != 3 {
			t.Errorf("known %v: changed %v, removed %v, endpoints %v", known, changed, removed, second.Endpoints)
		}

		f.push(state(service(t, time.Second, "a"), at(3))...)
		third := n.one(t, "changed").snap
		if _, _, known := third.EndpointsSince(second); known || len(third.Endpoints) != 1 {
			t.Errorf("in full: known %v, endpoints %v", known, third.Endpoints)
		}
	})
}
