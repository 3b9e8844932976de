// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package trust

import (
	"crypto/x509"
	"fmt"
	"time"
)

// Material is all that the Secret holds. It is immutable.
//
//	Current ----old or asked----> Current + Next ----spread----> Current (was Next) + Previous ----served its time----> Current
//
// Invariant: whoever believes what Bundle says can verify the certificate of
// every replica, also of one that is a step behind.
type Material struct {
	// Current signs.
	Current *Authority
	// Next is believed already, and signs once it has spread; nil for none.
	Next *Authority
	// Previous signed before, and is still believed; nil for none.
	Previous *x509.Certificate
	// NextSince is since when there is a Next, SwitchedAt when Current began to
	// sign. Of seconds.
	NextSince, SwitchedAt time.Time
	// Answered is the request for a rotation that was followed last.
	Answered string
}

// Bundle is what clients are to believe, in PEM.
func (m *Material) Bundle() []byte {
	certs := []*x509.Certificate{m.Current.Cert}
	if m.Next != nil {
		certs = append(certs, m.Next.Cert)
	}
	if m.Previous != nil {
		certs = append(certs, m.Previous)
	}
	return certPEM(certs...)
}

// step says what a decision has done.
type step string

const (
	stepNone     step = ""
	stepMade     step = "made"
	stepAnnounce step = "announced"
	stepSwitch   step = "switched"
	stepForget   step = "forgotten"
)

// pace are the times of a rotation.
type pace struct {
	// lifetime of an authority; it is replaced when a third of it is left.
	lifetime time.Duration
	// leaf is the lifetime of a replica's certificate.
	leaf time.Duration
	// settle is how long a new authority is believed before it signs: what it takes
	// to reach the files that are mounted. Clients that are known to lack it are
	// waited for ten times as long, and no longer.
	settle time.Duration
}

const waitForKnown = 10

// circumstances are what a decision is made by.
type circumstances struct {
	now time.Time
	// asked is the request for a rotation that stands on the Secret.
	asked string
	// lack counts the clients that are known not to hold the bundle yet.
	lack int
}

// decide says what is to be done with the material, nil for none yet. create
// makes an authority.
func decide(m *Material, c circumstances, p pace, create func() (*Authority, error)) (*Material, step, error) {
	if m == nil {
		made, err := create()
		if err != nil {
			return nil, stepNone, fmt.Errorf("make an authority: %w", err)
		}
		return &Material{Current: made, SwitchedAt: c.now, Answered: c.asked}, stepMade, nil
	}
	next := *m
	old := c.now.After(m.Current.Cert.NotAfter.Add(-p.lifetime / 3))
	waited := c.now.Sub(m.NextSince)
	switch {
	case m.Next != nil && (waited >= p.settle && (c.lack == 0 || waited >= waitForKnown*p.settle) || c.now.After(m.Current.Cert.NotAfter)):
		next.Current, next.Next, next.Previous = m.Next, nil, m.Current.Cert
		next.SwitchedAt, next.NextSince = c.now, time.Time{}
		return &next, stepSwitch, nil
	case m.Next == nil && m.Previous != nil && c.now.Sub(m.SwitchedAt) >= p.leaf+p.settle:
		next.Previous = nil
		return &next, stepForget, nil
	case m.Next == nil && m.Previous == nil && (old || c.asked != m.Answered):
		made, err := create()
		if err != nil {
			return nil, stepNone, fmt.Errorf("make an authority: %w", err)
		}
		next.Next, next.NextSince, next.Answered = made, c.now, c.asked
		return &next, stepAnnounce, nil
	default:
		return m, stepNone, nil
	}
}
