// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package identity

import (
	"encoding/json"
	"fmt"
	"runtime"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// TestPodsAreSmall holds what is kept of a Pod to a bound, however much there is
// to it.
func TestPodsAreSmall(t *testing.T) {
	const number, most = 2000, 512
	large := corev1.Pod{
		Spec: corev1.PodSpec{ServiceAccountName: "app", NodeName: "node-1"}, Status: corev1.PodStatus{Phase: corev1.PodRunning},
	}
	large.ManagedFields = []metav1.ManagedFieldsEntry{{Manager: "m", FieldsV1: metav1.NewFieldsV1(`{"f:spec":{}}`)}}
	large.Annotations = map[string]string{"text": strings.Repeat("x", 2000)}
	for i := range 30 {
		large.Spec.Containers = append(large.Spec.Containers, corev1.Container{Name: fmt.Sprint(i), Image: strings.Repeat("i", 100)})
	}
	p := newPods(func(string) {})
	v := &Verifier{pods: p}
	if v.Ready() {
		t.Error("tokens can be judged before Pods were listed")
	}
	p.Replace(nil)
	if !v.Ready() {
		t.Error("tokens cannot be judged although Pods were listed")
	}
	before := int64(0)
	for i := range number + 1 {
		if i == 1 { // the first one makes what decoding needs, too
			before = live()
		}
		large.Namespace, large.Name, large.UID = "shop", fmt.Sprintf("app-7f9c8d6b5-%05d", i), types.UID(fmt.Sprintf("00000000-0000-0000-0000-%012d", i))
		text, err := json.Marshal(&large)
		if err != nil {
			t.Fatal(err)
		}
		came := &corev1.Pod{}
		if err := json.Unmarshal(text, came); err != nil {
			t.Fatal(err)
		}
		p.Set(came) // as it came: what is kept may not hang on to it
	}
	kept := (live() - before) / number
	t.Logf("%d bytes for each Pod", kept)
	if kept > most {
		t.Errorf("%d bytes are kept of each Pod, want %d at most", kept, most)
	}
	if _, there, listed := p.get("00000000-0000-0000-0000-000000000001"); !there || !listed {
		t.Error("a Pod is not known")
	}
}

// live is what is in use after a collection.
func live() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
