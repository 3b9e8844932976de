// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package registry

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
	"time"

	"github.com/go-logr/logr"

	"github.com/fairlead/fairlead/rpcruntime/policy"
	"github.com/fairlead/fairlead/rpcruntime/transport"
)

// Config sets up a Client. It is not to be changed afterwards.
type Config struct {
	// Addresses are the registry's replicas, host:port; they are tried in random
	// order. None: nothing is dialled, and what the cache holds is all there is.
	Addresses []string
	// Resolve, if not nil, is asked for the addresses instead, before each round
	// through them, beside the loop. An error counts as a failed attempt.
	Resolve func() ([]string, error)
	// Dial opens a connection; nil means plain TCP.
	Dial func(ctx context.Context, address string) (net.Conn, error)
	// Identity is what the process says of itself. SetServing changes its
	// Addresses. An empty Instance is made up.
	Identity Identity
	// Transport sets up connections. Without a Wheel the client has its own; its
	// limit of frames is raised to what the registry's need.
	Transport transport.Config
	// CacheDir is the folder of the last-known-good cache; empty means none.
	CacheDir string
	// Log gets what happens. The zero Logger discards.
	Log logr.Logger
	// Rand spreads retries; nil means math/rand/v2. Safe for concurrent use.
	Rand func() uint64
	// RuntimeVersion is told to the registry, for people.
	RuntimeVersion string
	// Features are words for what this runtime honours; the registry counts them.
	Features []string
	// Token, if not nil, gives the token that proves who the process is. It is
	// asked for each subscription, and every renewInterval: a token that has
	// changed is sent to the registry. It is sent over TLS only.
	Token func(ctx context.Context) (string, error)
	// Trust, if not nil, takes the authorities that the registry sends over TLS.
	// Dial must have verified the registry's certificate.
	Trust *Trust
	// Unanswered, if not nil, gives what is said with the error of a connection
	// that ended before the registry answered on it: what may be wrong on this
	// side; empty for nothing. It must not block for long.
	Unanswered func() string
	// OnSelf, if not nil, is called on each change of Self, on the client's
	// goroutine. It must not block.
	OnSelf func(Self)
}

func (c Config) withDefaults() Config {
	if c.Dial == nil {
		c.Dial = func(ctx context.Context, address string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "tcp", address)
		}
	}
	if c.Rand == nil {
		c.Rand = rand.Uint64
	}
	if c.Identity.Instance == "" {
		c.Identity.Instance = strconv.FormatUint(rand.Uint64(), 36) // not of Rand: it is to differ where that does not
	}
	if limit := &c.Transport.Limits.FrameBytes; *limit > 0 {
		*limit = max(*limit, 2*ChunkBytes)
	}
	return c
}

// The times of the client. docs/registry-protocol.md §5
const (
	// dialTimeout bounds one attempt to connect.
	dialTimeout = 5 * time.Second
	// callTimeout bounds one call to the registry.
	callTimeout = 10 * time.Second
	// retryBase and retryMax bound the wait before the n-th attempt in a row:
	// random between 0 and min(retryMax, retryBase*2^n).
	retryBase = 100 * time.Millisecond
	retryMax  = 3 * time.Second
	// sayAgain is after how long the same reason for breaking off a connection is
	// logged again.
	sayAgain = 10 * time.Minute
	// settledAfter is how long a connection must have served before its end
	// counts as the first failure in a row.
	settledAfter = 5 * time.Second
	// firstOutcome is how long a watcher waits for the registry before it gets
	// what the cache holds, or is told that nothing came.
	firstOutcome = time.Second
	// ackInterval is the least time between acks without a rejection; up to
	// half of it is added at random.
	ackInterval = time.Second
	// againInterval is the least time between subscriptions in full because of
	// what did not fit together.
	againInterval = time.Second
	// forgetAfter is how long at most a service that is gone stays in use.
	forgetAfter = 10 * time.Minute
	// renewInterval is how often the token is looked at.
	renewInterval = 20 * time.Second
	// saveInterval is the least time between two writes of one cache file.
	saveInterval = time.Second
)

// Origin says where a snapshot is from.
type Origin uint8

const (
	// Live snapshots come from the registry.
	Live Origin = iota
	// Cached snapshots come from the last-known-good cache: the registry has not
	// been heard yet.
	Cached
)

// String returns live or cached.
func (o Origin) String() string {
	if o == Cached {
		return "cached"
	}
	return "live"
}

// Watcher is told what becomes of one service. The methods are called one at a
// time and in order, on the client's goroutine: they must not block, and may
// call all methods of the Client but Close.
type Watcher interface {
	// Changed gives the newest snapshot. It is also called when a snapshot from
	// the cache turns out to be the newest, and after Invalid.
	Changed(s *policy.Snapshot, origin Origin)
	// Invalid says why there is no newer snapshot, as a *status.Error. What is
	// held stays in use, unless err is a *GoneError that says Forgotten.
	Invalid(err error)
	// Ambient tells of trouble with the registry: what is held stays in use, and
	// the client goes on trying. It is called for each failed attempt.
	Ambient(err error)
}

// Status says how things stand with the registry.
type Status struct {
	// Address is the replica that is connected, was last, or is being tried.
	Address string
	// Connected: it has answered on the connection that stands.
	Connected bool
	// AsOf is when the registry was last known to be there; zero for never.
	AsOf time.Time
	// Epoch is that of the last answer.
	Epoch string
	// Err is the last trouble; nil while connected.
	Err error
}

// String is how errors speak of the registry.
func (s Status) String() string {
	address := s.Address
	if address == "" {
		address = "without an address"
	}
	if s.AsOf.IsZero() {
		return fmt.Sprintf("registry %s (never reached)", address)
	}
	return fmt.Sprintf("registry %s (as of %s)", address, s.AsOf.Format(time.TimeOnly))
}
