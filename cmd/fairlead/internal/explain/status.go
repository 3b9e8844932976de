// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package explain

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/duration"

	"github.com/fairlead/fairlead/api/v1alpha1"
	"github.com/fairlead/fairlead/internal/compile"
)

// Status says how services stand, as JSON. docs/cli.md
type Status struct {
	Services []ServiceStatus `json:"services"`
	NotRead  []NotRead       `json:"notRead"`
	// Missing are replicas of the operator whose clients are not known. NotAsked
	// says why no replica was asked. With either, numbers of clients are those of
	// the status.
	Missing  []Missing `json:"missing,omitempty"`
	NotAsked string    `json:"notAsked,omitempty"`
}

// ServiceStatus is one of them. What is not known is left out.
type ServiceStatus struct {
	Service string `json:"service"`
	// Generation is the object's, ObservedGeneration the one that its status is
	// about; both are 0 when a registry answered.
	Generation         int64 `json:"generation,omitempty"`
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`
	// Ready is the condition's status: True, False or Unknown.
	Ready string `json:"ready,omitempty"`
	// Endpoints is READY/TOTAL.
	Endpoints string   `json:"endpoints,omitempty"`
	Clients   *Clients `json:"clients,omitempty"`
	Digest    string   `json:"digest,omitempty"`
	// Created is when the object was made.
	Created *time.Time `json:"created,omitempty"`
	// Notes say what is out of order.
	Notes []string `json:"notes,omitempty"`
	// Without are clients that do not hold what is served, mostWithout at most;
	// More is how many are not listed.
	Without []Without `json:"without,omitempty"`
	More    int       `json:"more,omitempty"`
}

// Status says how services stand: those that are named, or all that were read.
func (w *World) Status(names []Key) (*Status, error) {
	status := &Status{Services: []ServiceStatus{}, NotRead: listOf(w.notRead)}
	if len(names) == 0 {
		names = w.objects.Services()
	}
	for _, name := range names {
		s, err := w.service(name)
		if err != nil {
			return nil, err
		}
		status.Services = append(status.Services, w.standing(s))
	}
	return status, nil
}

// StatusIn says how the services of a namespace stand.
func (w *World) StatusIn(namespace string) (*Status, error) {
	names := slices.DeleteFunc(w.objects.Services(), func(k Key) bool { return k.Namespace != namespace })
	if len(names) == 0 {
		return &Status{Services: []ServiceStatus{}, NotRead: []NotRead{}}, nil
	}
	return w.Status(names)
}

// StatusOf says how the services stand that are named, or else those of a
// namespace, or of all.
func (c *Cluster) StatusOf(ctx context.Context, names []Key, namespace string, all bool) (*Status, error) {
	if all || slices.ContainsFunc(names, func(k Key) bool { return k.Namespace != names[0].Namespace }) {
		namespace = ""
	} else if len(names) > 0 {
		namespace = names[0].Namespace
	}
	w, err := c.Status(ctx, namespace)
	if err != nil {
		return nil, err
	}
	return w.Status(names)
}

// standing says how a service stands by its status; with manifests, as compiled.
func (w *World) standing(s *v1alpha1.RPCService) ServiceStatus {
	out := compile.Service(w.objects.Input(compile.KeyOf(s)))
	said := &s.Status
	if w.offline {
		said = &v1alpha1.RPCServiceStatus{
			ObservedGeneration: s.Generation, Conditions: out.Report.Conditions, Summary: &out.Report.Summary,
		}
	}
	v := ServiceStatus{
		Service: out.Key.String(), Generation: s.Generation, ObservedGeneration: said.ObservedGeneration,
		Ready: string(metav1.ConditionUnknown), Clients: clientsOf(s),
	}
	if out.Published {
		v.Digest = w.digest(out)
	}
	if !s.CreationTimestamp.IsZero() {
		v.Created = &s.CreationTimestamp.Time
	}
	if said.Summary != nil {
		v.Endpoints = said.Summary.Endpoints
	}
	switch {
	case said.ObservedGeneration == 0:
		v.Notes = append(v.Notes, "the operator has not looked at it yet")
	case said.ObservedGeneration < s.Generation:
		v.Notes = append(v.Notes, fmt.Sprintf("the status is of generation %d, the object has %d", said.ObservedGeneration, s.Generation))
	}
	if ready := meta.FindStatusCondition(said.Conditions, v1alpha1.ConditionReady); ready != nil {
		v.Ready = string(ready.Status)
		if ready.Status != metav1.ConditionTrue {
			v.Notes = append(v.Notes, ready.Reason+": "+ready.Message)
		}
	}
	if bad := meta.FindStatusCondition(said.Conditions, v1alpha1.ConditionDegraded); bad != nil && bad.Status == metav1.ConditionTrue {
		v.Notes = append(v.Notes, bad.Reason+": "+bad.Message)
	}
	if bad := meta.FindStatusCondition(said.Conditions, v1alpha1.ConditionHonoured); bad != nil && bad.Status == metav1.ConditionFalse {
		v.Notes = append(v.Notes, bad.Reason+": "+bad.Message)
	}
	return v
}

// WriteText writes it for people; ages are those at a time.
func (s *Status) WriteText(to io.Writer, now time.Time) error {
	p := &printer{to: to}
	if len(s.Services) == 0 {
		p.linef("there is no RPCService")
	}
	var rows []string
	for i := range s.Services {
		v := &s.Services[i]
		clients, age := "-", "-"
		if v.Clients != nil {
			clients = fmt.Sprintf("%d/%d", v.Clients.Current, v.Clients.Total)
		}
		if v.Created != nil {
			age = duration.HumanDuration(now.Sub(*v.Created))
		}
		rows = append(rows, row(v.Service, cmp.Or(v.Ready, "-"), cmp.Or(v.Endpoints, "-"), clients, cmp.Or(v.Digest, "-"), age))
	}
	p.table(3, row("SERVICE", "READY", "ENDPOINTS", "CLIENTS", "DIGEST", "AGE"), rows...)
	blank := true
	for i := range s.Services {
		for _, note := range s.Services[i].Notes {
			if blank {
				p.linef("")
				blank = false
			}
			p.linef("%s  %s", s.Services[i].Service, note)
		}
	}
	s.without(p)
	p.notRead(s.NotRead)
	p.missing(s.Missing, "; CLIENTS is what the operator last wrote into the status")
	p.notAsked("which clients hold what is served, and which do not", s.NotAsked)
	return p.err
}

// without lists clients that do not hold what is served.
func (s *Status) without(p *printer) {
	var rows []string
	for i := range s.Services {
		v := &s.Services[i]
		for j := range v.Without {
			rows = append(rows, row(v.Service, v.Without[j].row()))
		}
		if v.More > 0 {
			rows = append(rows, row(v.Service, fmt.Sprintf("and %d more", v.More)))
		}
	}
	p.section(row("SERVICE", "NOT CURRENT", "HAS", "FOR", "NOTE"), rows)
}
