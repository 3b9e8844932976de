// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package load

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/fairlead/fairlead/bench/internal/hist"
	"github.com/fairlead/fairlead/bench/internal/order"
	"github.com/fairlead/fairlead/bench/internal/peer"
)

// thoroughEvery is how often all of a reply is looked at.
const thoroughEvery = 256

// Job is a load.
type Job struct {
	Client   peer.Client
	Bytes    int // of the payload; 0 for an order
	Handler  peer.Handler
	Callers  int // of a closed loop, at least 1
	Duration time.Duration
}

// Outcome is what came of a load.
type Outcome struct {
	InTime  int64 // calls that succeeded before time was up
	Calls   int64 // all that succeeded
	Errors  int64
	Failure error // the first of the errors
	// Least and Most are the calls of the callers that had fewest and most.
	Least, Most int64
	Latency     hist.Hist
	Spent       Usage // by this process while the load ran
}

// exchange is one verified call.
type exchange func(ctx context.Context) error

// prepare makes the exchange of one caller, which has its own request.
func (j *Job) prepare(c peer.Caller, caller int) exchange {
	if j.Bytes == 0 {
		return orders(c, j.Handler, uint64(caller)<<32)
	}
	return payloads(c, j.Handler, uint64(caller)<<32, j.Bytes)
}

func orders(c peer.Caller, h peer.Handler, stamp uint64) exchange {
	req := order.New()
	return func(ctx context.Context) error {
		stamp++
		req.Stamp = stamp
		reply, err := c.Order(ctx, h, req)
		if err != nil {
			return err
		}
		return order.Check(req, reply, stamp%thoroughEvery == 0)
	}
}

func payloads(c peer.Caller, h peer.Handler, stamp uint64, size int) exchange {
	req := make([]byte, max(size, 16))
	for i := range req {
		req[i] = byte(i * 7)
	}
	var reply []byte
	return func(ctx context.Context) error {
		stamp++
		binary.BigEndian.PutUint64(req, stamp)
		var err error
		reply, err = c.Bytes(ctx, h, req, reply)
		if err != nil {
			return err
		}
		return checkPayload(req, reply, stamp%thoroughEvery == 0)
	}
}

func checkPayload(sent, reply []byte, thorough bool) error {
	switch last := len(sent) - 1; {
	case len(reply) != len(sent):
		return fmt.Errorf("the reply has %d bytes, not %d", len(reply), len(sent))
	case !bytes.Equal(reply[:8], sent[:8]) || reply[last] != sent[last]:
		return errors.New("the reply is that of another call")
	case thorough && !bytes.Equal(reply, sent):
		return errors.New("the reply is not what was sent")
	}
	return nil
}
