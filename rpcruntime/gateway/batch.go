// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"fmt"
	"mime"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/fairlead/fairlead/rpcruntime"
	"github.com/fairlead/fairlead/rpcruntime/codec"
	"github.com/fairlead/fairlead/rpcruntime/status"
)

// isJSONRPC reports whether a request is JSON-RPC: each by itself, so that both
// kinds may take turns on one connection.
func (g *gateway) isJSONRPC(r *http.Request) bool {
	return strings.EqualFold(r.Header.Get(headerJSONRPC), "true") || g.opts.JSONRPCPath != "" && r.URL.Path == g.opts.JSONRPCPath
}

// serveJSONRPC answers a JSON-RPC request. What fails before the JSON was read is
// told by HTTP's status, all else within an answer of status 200.
func (x *exchange) serveJSONRPC() {
	if x.r.Method != http.MethodPost {
		x.w.Header().Set("Allow", http.MethodPost+", "+http.MethodOptions)
		x.refuseRPC(refuseMethod(x.r.Method))
		return
	}
	if x.r.Header.Get(headerJSONRPC) == "" && !isJSONContent(x.r.Header.Get("Content-Type")) {
		x.refuseRPC(errNotJSONContent)
		return
	}
	base, wrong := parseCommon(x.r.Header)
	if wrong != nil {
		x.refuseRPC(wrong)
		return
	}
	b, wrong := x.readBody()
	if wrong != nil {
		x.refuseRPC(wrong)
		return
	}
	defer b.free()
	calls, batch, rpcWrong := parseRPC(b.bytes, x.g.opts.MaxBatch)
	if rpcWrong != nil {
		x.write(http.StatusOK, contentJSON, errorAnswer(nil, rpcWrong))
		return
	}
	base.Codec, base.Peer = codec.TypeJSON, peerOf(x.r)
	run := &rpcRun{x: x, calls: calls, base: base, answers: make([][]byte, len(calls))}
	if base.Timeout > 0 {
		run.deadline = time.Now().Add(base.Timeout)
	}
	if !batch {
		x.answerOne(run)
		return
	}
	run.all()
	x.writeBatch(run.answers)
}

// answerOne makes the only call of a request and answers.
func (x *exchange) answerOne(run *rpcRun) {
	reply := run.call(0)
	if reply != nil && !x.metaHeader(reply) {
		run.answers[0] = errorAnswer(run.calls[0].id, &rpcError{code: rpcInternalError, err: errReplyMeta})
	}
	if run.answers[0] == nil {
		x.write(http.StatusNoContent, "", nil)
		return
	}
	x.write(http.StatusOK, contentJSON, run.answers[0])
}

// writeBatch answers with an array of the answers there are, in the order of the
// calls; with nothing if there are none.
func (x *exchange) writeBatch(answers [][]byte) {
	var all []byte
	for _, a := range answers {
		if a == nil {
			continue
		}
		sep := byte(',')
		if len(all) == 0 {
			sep = '['
		}
		all = append(append(all, sep), a...)
	}
	if len(all) == 0 {
		x.write(http.StatusNoContent, "", nil)
		return
	}
	x.write(http.StatusOK, contentJSON, append(all, ']'))
}

var errNotJSONContent = refuse(http.StatusUnsupportedMediaType, status.InvalidArgument,
	"the content type must be application/json, or the header %s: true", headerJSONRPC)

// isJSONContent reports whether a content type is JSON. Without that a form on a
// foreign site could make its visitor's browser call.
func isJSONContent(value string) bool {
	media, _, err := mime.ParseMediaType(value)
	return err == nil && media == contentJSON
}

// refuseRPC answers a JSON-RPC request that failed before its JSON was read.
func (x *exchange) refuseRPC(r *refusal) {
	x.failHeader(r.err, true)
	x.write(r.code, contentJSON, errorAnswer(nil, &rpcError{code: rpcInvalidRequest, err: r.err, unexecuted: true}))
}

// rpcRun makes the calls of one JSON-RPC request.
//
// Invariant: each index is taken by one goroutine, which alone writes that answer.
type rpcRun struct {
	x        *exchange
	calls    []rpcCall
	base     rpcruntime.ForeignCall
	deadline time.Time // of all calls together; zero for none
	answers  [][]byte  // nil for a call that gets none
	next     atomic.Int64
	size     atomic.Int64 // of the answers; bytes
}

// all makes all calls, several at once. The goroutines beside this one are
// bounded for the gateway as a whole: without any the calls go one by one.
func (run *rpcRun) all() {
	var helping sync.WaitGroup
	defer helping.Wait()
	for range min(run.x.g.opts.BatchConcurrency, len(run.calls)) - 1 {
		select {
		case run.x.g.helpers <- struct{}{}:
			helping.Go(func() {
				defer func() { <-run.x.g.helpers }()
				run.work()
			})
		default:
		}
	}
	run.work()
}

func (run *rpcRun) work() {
	for {
		i := int(run.next.Add(1)) - 1
		if i >= len(run.calls) {
			return
		}
		run.call(i)
	}
}

var errTooManyReplies = status.New(status.ResourceExhausted, "the results of the batch are too large together: send smaller batches")

// call makes the call i and sets its answer. It returns nil for one that was not
// made.
func (run *rpcRun) call(i int) *rpcruntime.ForeignReply {
	c := &run.calls[i]
	if c.wrong != nil {
		if !c.silent() {
			run.answers[i] = errorAnswer(c.id, c.wrong)
		}
		return nil
	}
	reply := run.do(c)
	if c.silent() {
		return reply
	}
	result, wrong := outcome(reply)
	if wrong == nil && run.size.Add(int64(len(result))) > run.x.g.opts.MaxBatchReplyBytes && len(run.calls) > 1 {
		wrong = &rpcError{code: JSONRPCCode(errTooManyReplies.Code()), err: errTooManyReplies}
	}
	if wrong != nil {
		run.answers[i] = errorAnswer(c.id, wrong)
		return reply
	}
	run.answers[i] = resultAnswer(c.id, result)
	return reply
}

// do hands a call to the server. A panic on the way there would end the process:
// net/http recovers its own goroutines only.
func (run *rpcRun) do(c *rpcCall) (reply *rpcruntime.ForeignReply) {
	defer func() {
		if p := recover(); p != nil {
			run.x.g.opts.Logger.Error(fmt.Errorf("%v", p), "gateway: a call panicked", "path", c.path, "method", c.method)
			reply = &rpcruntime.ForeignReply{Err: status.New(status.Internal, "the call panicked; the server's log says more")}
		}
	}()
	call := run.base
	call.Path, call.Method, call.Payload, call.Oneway = c.path, c.method, c.arg, c.id == nil
	if !run.deadline.IsZero() {
		if call.Timeout = time.Until(run.deadline); call.Timeout <= 0 {
			call.Timeout = expired
		}
	}
	return run.x.g.srv.Do(run.x.r.Context(), &call)
}
