// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"errors"
	"net/http"
	"strings"
	"sync"

	"github.com/go-logr/logr"
)

// readiness says whether a replica has published everything, and what it waits
// for. It is asked every few seconds, and logs what has changed since.
type readiness struct {
	// definitions says what is wrong with the definitions in the cluster.
	definitions func() error
	// waiting names the kinds that are still to be listed; known is false before
	// the cluster's name is.
	waiting func() (kinds []string, known bool)
	// published and listening: everything was published once; the registry is open.
	published, listening func() bool
	log                  logr.Logger

	mu   sync.Mutex // guards said
	said string     // what was waited for when that was logged last
}

// check is a readyz check. It is safe for concurrent use.
func (r *readiness) check(*http.Request) error {
	what := r.lacks()
	r.mu.Lock()
	defer r.mu.Unlock()
	switch what {
	case r.said:
	case "":
		r.log.Info("ready")
	default:
		r.log.Info("not ready yet", "waitsFor", what)
	}
	r.said = what
	if what != "" {
		return errors.New("waits for " + what)
	}
	return nil
}

// lacks says what is waited for, in the order in which it comes; empty for
// nothing.
func (r *readiness) lacks() string {
	if r.published() && r.listening() {
		return ""
	}
	if r.definitions() != nil {
		return "the definitions of our kinds: see /readyz/definitions"
	}
	if !r.published() {
		switch kinds, known := r.waiting(); {
		case !known:
			return "the API server, to read the UID of the namespace kube-system, which names the cluster"
		case len(kinds) > 0:
			return "the API server, to list " + strings.Join(kinds, ", ")
		default:
			return "all that was listed to be published"
		}
	}
	return "a certificate for the registry: the replica that holds the Lease makes the authority and writes its Secret"
}
