// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package bundle

import (
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead/fairlead/controllers/registry/gather"
	"github.com/fairlead/fairlead/internal/compile"
)

// Receive takes an event of what is gathered: namespaces, and objects of ours.
func (c *Controller) Receive(e gather.Event) {
	switch e.Kind {
	case compile.KindNamespace:
		c.namespace(e)
	case compile.KindRPCService, compile.KindRPCCallPolicy, compile.KindRPCLimitPolicy:
		c.held(e)
	}
}

func (c *Controller) namespace(e gather.Event) {
	c.mu.Lock()
	moved := false
	switch e.Op {
	case gather.List:
		clear(c.namespaces)
		for _, n := range e.Objects {
			c.setNamespace(n)
		}
		c.listedNamespaces, moved = true, true
	case gather.Set:
		moved = c.setNamespace(e.Object)
	case gather.Delete:
		delete(c.namespaces, e.Object.GetName())
	case gather.Mark:
	}
	c.mu.Unlock()
	if moved {
		c.Wake()
	}
}

// setNamespace notes one. REQUIRES: mu is held.
func (c *Controller) setNamespace(n client.Object) (moved bool) {
	before, known := c.namespaces[n.GetName()]
	if n.GetDeletionTimestamp() != nil {
		delete(c.namespaces, n.GetName()) // nothing can be made in it
		return false
	}
	labelled := n.GetLabels()[LabelRegistry] == "true"
	c.namespaces[n.GetName()] = labelled
	return !known || before != labelled
}

// held notes which namespaces hold objects of ours.
func (c *Controller) held(e gather.Event) {
	c.mu.Lock()
	moved := false
	switch e.Op {
	case gather.List:
		c.holding[e.Kind] = map[string]map[string]struct{}{}
		for _, o := range e.Objects {
			c.hold(e.Kind, o)
		}
		moved = true
	case gather.Set:
		moved = c.hold(e.Kind, e.Object)
	case gather.Delete:
		if names := c.holding[e.Kind][e.Object.GetNamespace()]; names != nil {
			if delete(names, e.Object.GetName()); len(names) == 0 {
				delete(c.holding[e.Kind], e.Object.GetNamespace())
			}
		}
	case gather.Mark:
	}
	c.mu.Unlock()
	if moved {
		c.Wake()
	}
}

// hold notes one; first in its namespace? REQUIRES: mu is held.
func (c *Controller) hold(kind string, o client.Object) (first bool) {
	of := c.holding[kind]
	if of == nil {
		of = map[string]map[string]struct{}{}
		c.holding[kind] = of
	}
	names := of[o.GetNamespace()]
	if names == nil {
		of[o.GetNamespace()] = map[string]struct{}{o.GetName(): {}}
		return true
	}
	names[o.GetName()] = struct{}{}
	return false
}

// holds says whether a namespace has objects of ours. REQUIRES: mu is held.
func (c *Controller) holds(namespace string) bool {
	for _, of := range c.holding {
		if len(of[namespace]) > 0 {
			return true
		}
	}
	return false
}

// mapKeeper takes what the watch of ConfigMaps tells. It keeps the data that is
// ours to say, and whose the ConfigMap is.
type mapKeeper Controller

// Replace takes all ConfigMaps of the name.
func (k *mapKeeper) Replace(all []*corev1.ConfigMap) {
	k.mu.Lock()
	clear(k.maps)
	for _, m := range all {
		k.set(m)
	}
	k.listedMaps = true
	k.mu.Unlock()
	(*Controller)(k).Wake()
}

// Set takes one that is new or has changed.
func (k *mapKeeper) Set(m *corev1.ConfigMap) {
	k.mu.Lock()
	k.set(m)
	k.mu.Unlock()
	(*Controller)(k).Wake()
}

// Delete forgets one.
func (k *mapKeeper) Delete(m *corev1.ConfigMap) {
	k.mu.Lock()
	delete(k.maps, m.Namespace)
	k.mu.Unlock()
	(*Controller)(k).Wake()
}

// set keeps one. REQUIRES: mu is held.
func (k *mapKeeper) set(m *corev1.ConfigMap) {
	if m.Name != Name {
		return
	}
	kept := map[string]string{labelManaged: m.Labels[labelManaged]}
	for _, key := range []string{KeyAddress, KeyCA} {
		if value, there := m.Data[key]; there {
			kept[key] = value
		}
	}
	k.maps[m.Namespace] = kept
}
