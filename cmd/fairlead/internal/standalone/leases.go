// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package standalone

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/fairlead/fairlead/internal/compile"
)

const (
	// leaseTime is how long an instance stays listed without a sign of life.
	leaseTime = 15 * time.Second
	// maxLeases bounds the instances of one control plane.
	maxLeases = 10_000
)

// lease is the place of one instance.
type lease struct {
	// instance is immutable; a change replaces it.
	instance *compile.Instance
	// holder is the connection that renews it; 0 for nobody, because the
	// connection was lost or the control plane was started anew.
	holder uint64
	ends   time.Time
}

// leases says which instances are there. It has no clock and is not safe for
// concurrent use.
//
//	granted --Lost--> suspect --Register--> granted
//	   \__Leave, lease time__\__Leave, what is left of the lease time__ gone
type leases struct {
	// Invariant: the key is that of the instance.
	byKey map[compile.Key]*lease
}

// restoreLeases takes instances up again that an earlier process knew. It cannot
// tell how long nobody listened to them, so each has one full lease time to
// show that it is alive, and is until then what it was.
func restoreLeases(instances []*compile.Instance, now time.Time) *leases {
	l := &leases{byKey: make(map[compile.Key]*lease, len(instances))}
	for _, i := range instances {
		l.byKey[i.Key()] = &lease{instance: i, ends: now.Add(leaseTime)}
	}
	return l
}

// grant gives an instance a lease or renews it, and says whether that changes
// what is known of the instance. The lease goes over to the holder.
func (l *leases) grant(instance *compile.Instance, holder uint64, now time.Time) (changed bool, err error) {
	key := instance.Key()
	old := l.byKey[key]
	switch {
	case old == nil && len(l.byKey) >= maxLeases:
		return false, fmt.Errorf("%d instances are registered, and no more than that fit", maxLeases)
	case old == nil:
		l.byKey[key] = &lease{instance: instance, holder: holder, ends: now.Add(leaseTime)}
		return true, nil
	}
	old.holder, old.ends = holder, now.Add(leaseTime)
	if same(old.instance, instance) {
		return false, nil
	}
	old.instance = instance
	return true, nil
}

func same(a, b *compile.Instance) bool {
	return a.Ready == b.Ready && a.Address == b.Address && maps.Equal(a.Metadata, b.Metadata)
}

// leave ends a lease. What another holder has taken over is not the caller's to
// end: a process that is slow to leave must not take away its successor, which
// may have its address.
func (l *leases) leave(key compile.Key, holder uint64) bool {
	old := l.byKey[key]
	if old == nil || old.holder != 0 && old.holder != holder {
		return false
	}
	delete(l.byKey, key)
	return true
}

// lose makes all instances of a holder suspect and gives them, sorted. Their
// leases run on.
func (l *leases) lose(holder uint64) []*compile.Instance {
	var lost []*compile.Instance
	for _, le := range l.byKey {
		if le.holder != holder {
			continue
		}
		suspect := *le.instance
		suspect.Ready = false
		le.holder, le.instance = 0, &suspect
		lost = append(lost, &suspect)
	}
	slices.SortFunc(lost, compareInstances)
	return lost
}

// expire ends the leases that have run out and gives their instances, sorted.
func (l *leases) expire(now time.Time) []*compile.Instance {
	var ended []*compile.Instance
	for key, le := range l.byKey {
		if now.Before(le.ends) {
			continue
		}
		ended = append(ended, le.instance)
		delete(l.byKey, key)
	}
	slices.SortFunc(ended, compareInstances)
	return ended
}

// next is when the first lease runs out; zero for never.
func (l *leases) next() (at time.Time) {
	for _, le := range l.byKey {
		if at.IsZero() || le.ends.Before(at) {
			at = le.ends
		}
	}
	return at
}

// instances gives all of them, sorted.
func (l *leases) instances() []*compile.Instance {
	all := make([]*compile.Instance, 0, len(l.byKey))
	for _, le := range l.byKey {
		all = append(all, le.instance)
	}
	slices.SortFunc(all, compareInstances)
	return all
}

func compareInstances(a, b *compile.Instance) int {
	ka, kb := a.Key(), b.Key()
	return cmp.Or(cmp.Compare(ka.Namespace, kb.Namespace), cmp.Compare(ka.Name, kb.Name))
}
