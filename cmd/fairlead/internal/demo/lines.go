// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package demo

import (
	"errors"
	"time"

	"github.com/fairlead/fairlead/rpcruntime/status"
)

// order is a line from the steps to the process that makes the calls. One of its
// fields is set.
type order struct {
	// Load begins the load. It ends with the process, by SIGTERM.
	Load bool `json:"load,omitempty"`
	// Slow are the ids of slow calls to be made at once, which are not idempotent.
	Slow []string `json:"slow,omitempty"`
	// Probe is the id of a probe to be made.
	Probe string `json:"probe,omitempty"`
}

// news is a line that the caller answers with. One of its fields is set.
type news struct {
	Call  *callNews  `json:"call,omitempty"`
	Probe *probeNews `json:"probe,omitempty"`
	Pulse *pulse     `json:"pulse,omitempty"`
}

// callNews says how one call of the load ended.
type callNews struct {
	ID     string     `json:"id"`
	Method string     `json:"method"`
	Began  time.Time  `json:"began"`
	Took   int64      `json:"tookNanos"`
	Server string     `json:"server,omitempty"`
	PID    int        `json:"pid,omitempty"`
	Error  *errorNews `json:"error,omitempty"`
}

// probeNews says how a probe ended.
type probeNews struct {
	ID    string     `json:"id"`
	Error *errorNews `json:"error,omitempty"`
}

// pulse is what the caller says of itself, many times a second.
type pulse struct {
	// Digest is the state of the service by which it makes calls, "-" before it
	// has one; Ready counts the servers in it that are ready.
	Digest string `json:"digest"`
	Ready  int    `json:"ready"`
	// Missed counts the calls so far that were given up before they were made.
	Missed int64 `json:"missed,omitempty"`
	// Late is how long after it was due the latest call since the last pulse was
	// made.
	Late int64 `json:"lateNanos,omitempty"`
}

// errorNews is an error of a call: code, fate and reason if it has them.
type errorNews struct {
	Text   string      `json:"text"`
	Typed  bool        `json:"typed,omitempty"` // false: no *status.Error
	Code   status.Code `json:"code,omitempty"`
	Fate   status.Fate `json:"fate,omitempty"`
	Reason string      `json:"reason,omitempty"`
}

func newErrorNews(err error) *errorNews {
	var e *status.Error
	switch {
	case err == nil:
		return nil
	case errors.As(err, &e):
		return &errorNews{Text: e.Message(), Typed: true, Code: e.Code(), Fate: e.Fate(), Reason: e.Reason()}
	default:
		return &errorNews{Text: err.Error()}
	}
}

func (n *errorNews) err() error {
	switch {
	case n == nil:
		return nil
	case n.Typed:
		return status.New(n.Code, n.Text).WithFate(n.Fate).WithReason(n.Reason)
	default:
		return errors.New(n.Text)
	}
}

func newCallNews(c *endedCall) *callNews {
	return &callNews{
		ID: c.id, Method: c.method, Began: c.began, Took: int64(c.ended.Sub(c.began)),
		Server: c.server, PID: c.pid, Error: newErrorNews(c.err),
	}
}

func (n *callNews) call() *endedCall {
	return &endedCall{
		id: n.ID, method: n.Method, began: n.Began, ended: n.Began.Add(time.Duration(n.Took)),
		server: n.Server, pid: n.PID, err: n.Error.err(),
	}
}
