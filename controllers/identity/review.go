// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package identity

import (
	"context"
	"crypto/sha256"
	"errors"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/time/rate"
	authenticationv1 "k8s.io/api/authentication/v1"
)

// +kubebuilder:rbac:groups=authentication.k8s.io,resources=tokenreviews,verbs=create

const (
	// reviewsPerSecond and reviewsAtOnce bound what the API server is asked.
	reviewsPerSecond, reviewsAtOnce = 10, 20
	reviewTimeout                   = 5 * time.Second

	usernamePrefix = "system:serviceaccount:"
	extraPodName   = "authentication.kubernetes.io/pod-name"
	extraPodUID    = "authentication.kubernetes.io/pod-uid"
)

var (
	errTooMany = errors.New("too many tokens are being asked about")
	errRefused = errors.New("the API server does not know it")
)

// reviewer asks the API server about tokens: as often as a bound allows, and once
// for the same token at the same time.
type reviewer struct {
	create   func(context.Context, *authenticationv1.TokenReview) (*authenticationv1.TokenReview, error)
	audience string
	pace     *rate.Limiter

	mu      sync.Mutex // guards what follows
	flights map[[sha256.Size]byte]*flight
}

// flight is one question, for all who ask it.
type flight struct {
	done chan struct{} // closed by who asks, when the rest is set
	who  bearer
	err  error
}

func newReviewer(
	create func(context.Context, *authenticationv1.TokenReview) (*authenticationv1.TokenReview, error), audience string,
) *reviewer {
	return &reviewer{
		create: create, audience: audience, pace: rate.NewLimiter(reviewsPerSecond, reviewsAtOnce),
		flights: map[[sha256.Size]byte]*flight{},
	}
}

// review gives whose a token is. errRefused and errWrongAudience are about the
// token; other errors are not.
func (r *reviewer) review(ctx context.Context, token string) (bearer, error) {
	id := sha256.Sum256([]byte(token))
	r.mu.Lock()
	f := r.flights[id]
	if f != nil {
		r.mu.Unlock()
		select {
		case <-f.done:
			return f.who, f.err
		case <-ctx.Done():
			return bearer{}, ctx.Err()
		}
	}
	if !r.pace.Allow() {
		r.mu.Unlock()
		return bearer{}, errTooMany
	}
	f = &flight{done: make(chan struct{})}
	r.flights[id] = f
	r.mu.Unlock()
	f.who, f.err = r.ask(ctx, token)
	r.mu.Lock()
	delete(r.flights, id)
	r.mu.Unlock()
	close(f.done)
	return f.who, f.err
}

func (r *reviewer) ask(ctx context.Context, token string) (bearer, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), reviewTimeout) // it is for others, too
	defer cancel()
	answer, err := r.create(ctx, &authenticationv1.TokenReview{
		Spec: authenticationv1.TokenReviewSpec{Token: token, Audiences: []string{r.audience}},
	})
	switch {
	case err != nil:
		return bearer{}, err
	case !answer.Status.Authenticated:
		return bearer{}, errRefused // its text may be about anything, the token included
	case !slices.Contains(answer.Status.Audiences, r.audience):
		return bearer{}, errWrongAudience
	}
	namespace, name, ok := strings.Cut(strings.TrimPrefix(answer.Status.User.Username, usernamePrefix), ":")
	if !ok || !strings.HasPrefix(answer.Status.User.Username, usernamePrefix) {
		return bearer{}, errRefused
	}
	who := bearer{namespace: namespace, serviceAccount: name}
	if extra := answer.Status.User.Extra; len(extra[extraPodUID]) > 0 && len(extra[extraPodName]) > 0 {
		who.pod, who.podUID = extra[extraPodName][0], extra[extraPodUID][0]
	}
	return who, nil
}
