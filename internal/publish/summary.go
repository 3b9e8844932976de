// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package publish

import (
	"context"
	"time"

	"github.com/fairlead/fairlead/rpcruntime/status"
)

// MethodSummary is the method by which replicas ask each other for their counts.
const MethodSummary = "Summary"

// maxSummary bounds the rows of a summary. One that has more is refused: what is
// left out would be missing in a sum.
const maxSummary = 100_000

// SummaryRequest asks a replica for what it counts.
type SummaryRequest struct {
	// All are the totals of the last round; a replica that has more than its share
	// of the clients sends some away.
	All Totals `msgpack:"a"`
}

// SummaryReply is what a replica counts.
type SummaryReply struct {
	// Replica says which one it is.
	Replica string `msgpack:"r"`
	// Counts are sorted.
	Counts []AckCount `msgpack:"c,omitempty"`
	// Clients are connections that subscribe to something, each once. It is nil from
	// a replica that cannot say, or that nobody can subscribe at yet.
	Clients *int `msgpack:"n,omitempty"`
}

// Summary gives this replica's counts to another replica, and to nobody else:
// they name services that the bearer may not see.
func (s *Service) Summary(ctx context.Context, req *SummaryRequest) (*SummaryReply, error) {
	if s.cfg.IsPeer == nil || !s.cfg.IsPeer(ctx) {
		return nil, status.New(status.PermissionDenied, "only other replicas of this registry may ask for its counts")
	}
	counts := s.Acks()
	if len(counts) > maxSummary {
		return nil, status.Errorf(status.ResourceExhausted, "%d counts, more than %d", len(counts), maxSummary)
	}
	reply := &SummaryReply{Replica: s.cfg.Replica, Counts: counts}
	if s.cfg.Store.Ready() {
		clients := s.Connections()
		reply.Clients = &clients
		s.level(req.All, time.Now())
	}
	return reply, nil
}
