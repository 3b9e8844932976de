// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"errors"
	"fmt"
	"time"

	"github.com/go-logr/logr"
)

// Options set up a gateway. The zero value has HTTP and JSON-RPC on, CORS off,
// and every limit at its default. A limit of 0 is its default: none can be
// switched off.
type Options struct {
	// WithoutHTTP switches the calls by X-RPCX-* headers off.
	WithoutHTTP bool
	// WithoutJSONRPC switches JSON-RPC off.
	WithoutJSONRPC bool
	// JSONRPCPath is a path, such as /jsonrpc, at which every POST is JSON-RPC.
	// Requests with the header X-JSONRPC-2.0: true are, at any path. Empty: only
	// these.
	JSONRPCPath string
	// CORS lets scripts of other origins call. Nil: it is off.
	CORS *CORS

	// MaxBodyBytes bounds one body. Default: what the server takes in a frame, 4 MiB
	// unless it was told otherwise. What becomes a call is held against the
	// server's own limits besides.
	MaxBodyBytes int64
	// MaxRequestBytes bounds all bodies together that are being read or served; it
	// must be more than MaxBodyBytes. Default 64 MiB, or four times MaxBodyBytes if
	// that is more.
	MaxRequestBytes int64
	// MaxHeaderBytes bounds the request line and the header. Default 64 KiB.
	MaxHeaderBytes int
	// MaxBatch bounds the calls in a JSON-RPC batch. Default 100.
	MaxBatch int
	// MaxBatchReplyBytes bounds the results of a batch together; those that do not
	// fit become errors. Default 16 MiB.
	MaxBatchReplyBytes int64
	// BatchConcurrency bounds how many calls of a batch run at once. Default 8.
	BatchConcurrency int

	// HeaderTimeout bounds how long a header may take once begun. Default 10 s.
	HeaderTimeout time.Duration
	// BodyTimeout bounds how long a body may take. Default 10 s.
	BodyTimeout time.Duration
	// WriteTimeout bounds how long each 256 KiB of an answer may take. Default 10 s.
	WriteTimeout time.Duration
	// IdleTimeout bounds how long a connection may be idle. Default 5 min.
	IdleTimeout time.Duration

	// Logger takes what goes wrong with connections, at V(1). The zero value logs
	// nothing.
	Logger logr.Logger
}

// drainLinger is how long a gateway that shuts down goes on taking requests:
// HTTP cannot tell the owner of an idle connection to go elsewhere but by the
// answer to its next request.
const drainLinger = time.Second

// cutMargin is how long a shutdown that was cut waits for handlers to see that
// their contexts have ended.
const cutMargin = time.Second

// maxHelpers bounds the goroutines of one gateway that work on batches beside
// those of the requests themselves.
const maxHelpers = 256

// withDefaults returns o with its zero fields replaced. frameBytes is what the
// server takes in a frame.
func (o Options) withDefaults(frameBytes int64) Options {
	orDefault(&o.MaxBodyBytes, frameBytes)
	orDefault(&o.MaxRequestBytes, max(64<<20, 4*o.MaxBodyBytes))
	orDefault(&o.MaxHeaderBytes, 64<<10)
	orDefault(&o.MaxBatch, 100)
	orDefault(&o.MaxBatchReplyBytes, 16<<20)
	orDefault(&o.BatchConcurrency, 8)
	orDefault(&o.HeaderTimeout, 10*time.Second)
	orDefault(&o.BodyTimeout, 10*time.Second)
	orDefault(&o.WriteTimeout, 10*time.Second)
	orDefault(&o.IdleTimeout, 5*time.Minute)
	return o
}

func orDefault[T int | int64 | time.Duration](v *T, def T) {
	if *v == 0 {
		*v = def
	}
}

// Validate says what is wrong with the options; nil if nothing is. Serve of a
// gateway with wrong options fails with the same error.
func (o Options) Validate() error {
	for _, limit := range []struct {
		name  string
		value int64
	}{
		{"MaxBodyBytes", o.MaxBodyBytes}, {"MaxRequestBytes", o.MaxRequestBytes}, {"MaxHeaderBytes", int64(o.MaxHeaderBytes)},
		{"MaxBatch", int64(o.MaxBatch)}, {"MaxBatchReplyBytes", o.MaxBatchReplyBytes}, {"BatchConcurrency", int64(o.BatchConcurrency)},
		{"HeaderTimeout", int64(o.HeaderTimeout)}, {"BodyTimeout", int64(o.BodyTimeout)},
		{"WriteTimeout", int64(o.WriteTimeout)}, {"IdleTimeout", int64(o.IdleTimeout)},
	} {
		if limit.value < 0 {
			return fmt.Errorf("gateway: %s is %d: it must not be negative; 0 is the default", limit.name, limit.value)
		}
	}
	switch {
	case o.WithoutHTTP && o.WithoutJSONRPC:
		return errors.New("gateway: both HTTP and JSON-RPC are switched off: leave the gateway out instead")
	case o.JSONRPCPath != "" && o.JSONRPCPath[0] != '/':
		return fmt.Errorf("gateway: JSONRPCPath %q must start with a slash", o.JSONRPCPath)
	case o.JSONRPCPath != "" && o.WithoutJSONRPC:
		return fmt.Errorf("gateway: JSONRPCPath is %q, but JSON-RPC is switched off", o.JSONRPCPath)
	case o.MaxBodyBytes != 0 && o.MaxRequestBytes != 0:
		if err := o.checkBodies(); err != nil {
			return err
		}
	}
	if _, err := newCORSRules(o.CORS); err != nil {
		return fmt.Errorf("gateway: CORS: %w", err)
	}
	return nil
}

// checkBodies says whether a body of the greatest size could ever be read.
func (o Options) checkBodies() error {
	if o.MaxRequestBytes <= o.MaxBodyBytes {
		return fmt.Errorf("gateway: MaxRequestBytes is %d: it must be more than MaxBodyBytes, which is %d", o.MaxRequestBytes, o.MaxBodyBytes)
	}
	return nil
}
