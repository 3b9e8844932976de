// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package compile

import (
	"fmt"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairlead/fairlead/api/v1alpha1"
)

// TestNamesThatNothingRefersTo has more names come and go than are kept.
func TestNamesThatNothingRefersTo(t *testing.T) {
	o := NewObjects(Mode{})
	revision := uint64(0)
	set := func(object any) {
		t.Helper()
		revision++
		if _, err := o.Set(object, revision); err != nil {
			t.Fatal(err)
		}
	}
	remove := func(kind string, key Key) { revision++; o.Delete(kind, key, revision) }
	service := func(name string) *v1alpha1.RPCService {
		return &v1alpha1.RPCService{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name}}
	}
	key := func(name string) Key { return Key{Namespace: "shop", Name: name} }
	changed := func(name string) uint64 { return o.AsOf(key(name), nil).Get(KindRPCService).Changed }

	set(service("stays"))
	set(service("targeted"))
	policy := &v1alpha1.RPCCallPolicy{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "p"}}
	policy.Spec.TargetRefs = []v1alpha1.CallTargetRef{{TargetRef: v1alpha1.TargetRef{Group: v1alpha1.GroupName, Kind: KindRPCService, Name: "targeted"}}}
	set(policy)
	remove(KindRPCService, key("targeted"))
	for i := range maxUnused + 10 {
		name := fmt.Sprintf("build-%d", i)
		set(service(name))
		remove(KindRPCService, key(name))
		if i == 100 { // it goes for the second time, and is new again
			set(service("build-0"))
			remove(KindRPCService, key("build-0"))
		}
	}
	if n := len(o.changed); n != maxUnused+2 || o.unused.len() != maxUnused {
		t.Errorf("%d names are kept, %d of them unused; want %d and %d", n, o.unused.len(), maxUnused+2, maxUnused)
	}
	for name, kept := range map[string]bool{
		"stays": true, "targeted": true, "build-0": true, "build-1": false, "build-10": false, "build-11": true, fmt.Sprintf("build-%d", maxUnused): true,
	} {
		if got := changed(name); got != 0 != kept {
			t.Errorf("%s changed at %d; kept should be %v", name, got, kept)
		}
	}
	remove(KindRPCCallPolicy, key("p"))
	set(service("stays"))
	if changed("targeted") == 0 || len(o.changed) != maxUnused+1 {
		t.Errorf("%d names are kept after the policy has gone", len(o.changed))
	}
	set(service("build-1")) // as if it had never been
	if got := changed("build-1"); got != revision {
		t.Errorf("changed at %d, want %d", got, revision)
	}
}
