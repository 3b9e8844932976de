// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package child

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/fairlead/fairlead/bench/internal/load"
	"github.com/fairlead/fairlead/bench/internal/peer"
)

// Call is a peer's client, until in ends.
func Call(ctx context.Context, p peer.Peer, s peer.Setup, in io.Reader, out io.Writer) error {
	c := caller{peer: p, setup: s, clients: make(map[int]peer.Client)}
	if err := json.NewEncoder(out).Encode(Answer{}); err != nil {
		return err
	}
	err := answerAll(in, out, func(ask Ask) (Answer, error) { return c.do(ctx, ask) })
	for _, client := range c.clients {
		err = errors.Join(err, client.Close())
	}
	return err
}

// caller keeps a client for each number of connections that was asked for.
type caller struct {
	peer    peer.Peer
	setup   peer.Setup
	clients map[int]peer.Client
}

func (c *caller) client(ctx context.Context, conns int) (peer.Client, error) {
	if client := c.clients[conns]; client != nil {
		return client, nil
	}
	s := c.setup
	s.Conns = conns
	client, err := c.peer.Dial(ctx, s)
	if err == nil {
		c.clients[conns] = client
	}
	return client, err
}

func (c *caller) do(ctx context.Context, ask Ask) (Answer, error) {
	client, err := c.client(ctx, max(1, ask.Conns))
	if err != nil {
		return Answer{}, err
	}
	handler := peer.Immediate
	if ask.Handler != "" {
		if handler, err = peer.ParseHandler(ask.Handler); err != nil {
			return Answer{}, err
		}
	}
	job := load.Job{Client: client, Bytes: ask.Bytes, Handler: handler, Callers: max(1, ask.Callers), Duration: ask.Duration}
	var out *load.Outcome
	var late load.Late
	switch ask.Op {
	case Closed:
		out, err = load.Closed(ctx, job)
	case Blocked:
		out, err = load.Blocked(ctx, job, ask.Blockers)
	case Open:
		out, late, err = load.Open(ctx, job, ask.Rate, ask.WarmUp, ask.Seed)
	default:
		err = fmt.Errorf("a client cannot %q", ask.Op)
	}
	if err != nil {
		return Answer{}, err
	}
	answer := answerOf(out)
	answer.LateMedian, answer.LateTail = late.P50, late.P99
	return answer, nil
}
