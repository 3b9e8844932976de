// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package identity

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/client-go/rest"
)

// +kubebuilder:rbac:urls=/openid/v1/jwks;/.well-known/openid-configuration,verbs=get

const (
	// fetchTimeout bounds one reading of the keys.
	fetchTimeout = 5 * time.Second
	// fetchAtMost is the least time between two readings that unknown keys cause.
	fetchAtMost = 10 * time.Second
	// fetchEvery is how often they are read anyway.
	fetchEvery = 10 * time.Minute
)

var (
	// errUnknownKey: the keys are known, and this is none of them.
	errUnknownKey = errors.New("it was signed with a key that is none of the cluster's")
	// errNoKeys: it cannot be told whose a key is.
	errNoKeys = errors.New("the cluster's keys cannot be read")
)

// published is what the API server says of its tokens. Immutable.
type published struct {
	issuer string
	keys   jose.JSONWebKeySet
}

// keys are those by which the cluster's tokens are signed.
type keys struct {
	fetch   func(ctx context.Context) (*published, error)
	now     func() time.Time
	fetched prometheus.Gauge

	// fetching has room for one: who reads them, and others that need them wait
	// for that.
	fetching chan struct{}

	mu     sync.Mutex // guards what follows
	last   *published // nil before they were read
	failed error      // how the last reading went
	tried  time.Time
}

// known gives what is known, and whether the last reading failed.
func (k *keys) known() (*published, time.Time, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.last, k.tried, k.failed
}

// refresh reads them, unless that was done less than a time ago.
func (k *keys) refresh(ctx context.Context, atMost time.Duration) {
	select {
	case k.fetching <- struct{}{}:
		defer func() { <-k.fetching }()
	case <-ctx.Done():
		return
	}
	if _, tried, _ := k.known(); !tried.IsZero() && k.now().Sub(tried) < atMost {
		return // somebody else did
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), fetchTimeout) // it is for others, too
	defer cancel()
	next, err := k.fetch(ctx)
	k.mu.Lock()
	defer k.mu.Unlock()
	k.tried, k.failed = k.now(), err
	if err == nil {
		k.last = next
		k.fetched.Set(float64(k.tried.Unix()))
	}
}

// find gives the issuer and the key of an id, and looks for one that is not known.
func (k *keys) find(ctx context.Context, id string) (issuer string, key *jose.JSONWebKey, err error) {
	for again := range 2 {
		last, _, failed := k.known()
		if last != nil {
			if found := last.keys.Key(id); len(found) > 0 {
				return last.issuer, &found[0], nil
			}
		}
		switch {
		case again == 0:
			k.refresh(ctx, fetchAtMost)
		case last == nil || failed != nil:
			return "", nil, errNoKeys
		default:
			return last.issuer, nil, errUnknownKey
		}
	}
	return "", nil, errUnknownKey
}

// run keeps them fresh until ctx ends.
func (k *keys) run(ctx context.Context) {
	for wait := time.Second; ; {
		k.refresh(ctx, 0)
		_, _, err := k.known()
		if wait = min(2*wait, time.Minute); err == nil {
			wait = fetchEvery
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return
		}
	}
}

// fetchFrom reads them from the API server.
func fetchFrom(client rest.Interface) func(context.Context) (*published, error) {
	return func(ctx context.Context) (*published, error) {
		var about struct {
			Issuer string `json:"issuer"`
		}
		p := new(published)
		for path, into := range map[string]any{"/.well-known/openid-configuration": &about, "/openid/v1/jwks": &p.keys} {
			raw, err := client.Get().AbsPath(path).DoRaw(ctx)
			if err == nil {
				err = json.Unmarshal(raw, into)
			}
			if err != nil {
				return nil, fmt.Errorf("%s: %w", path, err)
			}
		}
		p.issuer = about.Issuer
		if p.issuer == "" || len(p.keys.Keys) == 0 {
			return nil, errors.New("the API server names no issuer, or no keys")
		}
		return p, nil
	}
}
