// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package identity

import (
	"context"
	"sync"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"

	"github.com/fairlead/fairlead/controllers/observe"
)

// +kubebuilder:rbac:groups="",resources=pods,verbs=list;watch

// pod is what is kept of one.
type pod struct{ namespace, name, serviceAccount string }

// pods are those that exist and have not ended.
type pods struct {
	// gone is called for one that was there.
	gone func(uid string)

	mu     sync.RWMutex // guards what follows
	listed bool
	byUID  map[types.UID]pod
}

func newPods(gone func(uid string)) *pods { return &pods{gone: gone, byUID: map[types.UID]pod{}} }

// run follows Pods until ctx ends.
func (p *pods) run(ctx context.Context, client rest.Interface, log logr.Logger) {
	observe.Run(ctx, observe.Options[*corev1.Pod]{
		Client: client, Resource: "pods", Example: &corev1.Pod{}, Log: log, Trim: trim,
	}, p)
}

// trim leaves what keep reads: a list of all Pods is in memory for a moment.
func trim(o *corev1.Pod) {
	*o = corev1.Pod{
		TypeMeta:   o.TypeMeta,
		ObjectMeta: metav1.ObjectMeta{Namespace: o.Namespace, Name: o.Name, UID: o.UID, ResourceVersion: o.ResourceVersion},
		Spec:       corev1.PodSpec{ServiceAccountName: o.Spec.ServiceAccountName},
		Status:     corev1.PodStatus{Phase: o.Status.Phase},
	}
}

func ended(o *corev1.Pod) bool {
	return o.Status.Phase == corev1.PodSucceeded || o.Status.Phase == corev1.PodFailed
}

func keep(o *corev1.Pod) pod { return pod{o.Namespace, o.Name, o.Spec.ServiceAccountName} }

// Replace takes all Pods.
func (p *pods) Replace(all []*corev1.Pod) {
	next := make(map[types.UID]pod, len(all))
	for _, o := range all {
		if !ended(o) {
			next[o.UID] = keep(o)
		}
	}
	p.mu.Lock()
	before := p.byUID
	p.byUID, p.listed = next, true
	p.mu.Unlock()
	for uid := range before {
		if _, still := next[uid]; !still {
			p.gone(string(uid))
		}
	}
}

// Set takes one that is new or has changed.
func (p *pods) Set(o *corev1.Pod) {
	if ended(o) {
		p.Delete(o)
		return
	}
	p.mu.Lock()
	p.byUID[o.UID] = keep(o)
	p.mu.Unlock()
}

// Delete forgets one.
func (p *pods) Delete(o *corev1.Pod) {
	p.mu.Lock()
	_, known := p.byUID[o.UID]
	delete(p.byUID, o.UID)
	p.mu.Unlock()
	if known {
		p.gone(string(o.UID))
	}
}

// get looks a Pod up. listed is false before all were listed.
func (p *pods) get(uid string) (found pod, there, listed bool) {
	p.mu.RLock()
	defer p.mu.RUnlock()
	found, there = p.byUID[types.UID(uid)]
	return found, there, p.listed
}

// Ready says whether tokens can be judged: all Pods were listed. It stays so.
func (v *Verifier) Ready() bool {
	_, _, listed := v.pods.get("")
	return listed
}
