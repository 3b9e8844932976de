// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package identity

import (
	"errors"
	"slices"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
)

// bearer is whom a token was given to.
type bearer struct{ namespace, serviceAccount, pod, podUID string }

// claims are what a ServiceAccount's token says.
type claims struct {
	jwt.Claims
	Kubernetes struct {
		Namespace      string `json:"namespace"`
		ServiceAccount struct {
			Name string `json:"name"`
		} `json:"serviceaccount"`
		Pod struct {
			Name string `json:"name"`
			UID  string `json:"uid"`
		} `json:"pod"`
	} `json:"kubernetes.io"`
}

func (c *claims) bearer() bearer {
	k := &c.Kubernetes
	return bearer{k.Namespace, k.ServiceAccount.Name, k.Pod.Name, k.Pod.UID}
}

// algorithms are those that API servers sign with.
var algorithms = []jose.SignatureAlgorithm{jose.RS256, jose.RS384, jose.RS512, jose.ES256, jose.ES384, jose.ES512} // constant

// ahead is how far the API server's clock may be ahead of ours.
const ahead = time.Minute

var (
	errWrongAudience = errors.New("it is for another audience")
	errExpired       = errors.New("it has expired")
	errEarly         = errors.New("it is not valid yet: do the clocks agree?")
	errIssuer        = errors.New("it is another cluster's")
)

// check says what is wrong with claims whose signature was checked.
func (c *claims) check(issuer, audience string, now time.Time) error {
	switch {
	case c.Issuer != issuer:
		return errIssuer
	case !slices.Contains(c.Audience, audience):
		return errWrongAudience
	case c.Expiry == nil || !now.Before(c.Expiry.Time()):
		return errExpired
	case c.NotBefore != nil && now.Add(ahead).Before(c.NotBefore.Time()):
		return errEarly
	default:
		return nil
	}
}
