// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/fairlead/fairlead/rpcruntime"
	"github.com/fairlead/fairlead/rpcruntime/codec"
	"github.com/fairlead/fairlead/rpcruntime/status"
)

// writeChunk is how much of an answer WriteTimeout is for. Bytes.
const writeChunk = 256 << 10

// maxReplyMeta bounds the encoded metadata of an answer: a client that gets more
// in a header may refuse the answer as a whole. Bytes.
const maxReplyMeta = 64 << 10

// contentTypes are what payloads are, for clients that ask. Never left to be
// guessed from the bytes, which a caller may have chosen.
var contentTypes = [...]string{
	codec.TypeRaw:      "application/octet-stream",
	codec.TypeJSON:     contentJSON,
	codec.TypeProtobuf: "application/x-protobuf",
	codec.TypeMsgPack:  "application/msgpack",
	codec.TypeThrift:   "application/x-thrift",
}

const (
	contentJSON = "application/json"
	contentText = "text/plain; charset=utf-8"
)

func contentType(t codec.Type, c codec.CompressType) string {
	if int(t) < len(contentTypes) && c == codec.CompressNone {
		return contentTypes[t]
	}
	return contentTypes[codec.TypeRaw]
}

// write answers with a status and a body, which is the whole answer besides what
// stands in the header already.
func (x *exchange) write(code int, contentType string, body []byte) {
	h := x.w.Header()
	h.Set("Cache-Control", "no-store")
	if x.g.draining.Load() {
		h.Set("Connection", "close")
	}
	if code != http.StatusNoContent {
		h.Set("Content-Length", strconv.Itoa(len(body)))
	}
	if len(body) > 0 {
		h.Set("Content-Type", contentType)
		h.Set("X-Content-Type-Options", "nosniff")
	}
	x.allowWrite()
	x.w.WriteHeader(code)
	for len(body) > 0 {
		n := min(len(body), writeChunk)
		x.allowWrite()
		if _, err := x.w.Write(body[:n]); err != nil {
			return // the caller is gone, or does not read
		}
		body = body[n:]
	}
}

// allowWrite gives what is written next its time.
func (x *exchange) allowWrite() {
	_ = x.rc.SetWriteDeadline(time.Now().Add(x.g.opts.WriteTimeout)) // not every ResponseWriter has deadlines
}

// refuse answers a request that the gateway itself turns down.
func (x *exchange) refuse(r *refusal) {
	x.failHeader(r.err, true)
	x.write(r.code, contentText, []byte(r.err.Message()+"\n"))
}

// respond answers with what became of a call.
func (x *exchange) respond(req *request, reply *rpcruntime.ForeignReply) {
	if !x.metaHeader(reply) {
		reply = &rpcruntime.ForeignReply{Err: errReplyMeta}
	}
	switch {
	case reply.Err != nil:
		x.failHeader(reply.Err, reply.Unexecuted)
		x.write(HTTPStatus(reply.Err.Code()), contentText, []byte(reply.Err.Message()+"\n"))
	case req.call.Oneway:
		x.write(http.StatusAccepted, "", nil)
	default:
		if reply.Compress != codec.CompressNone {
			x.w.Header().Set(headerCompress, strconv.Itoa(int(reply.Compress)))
		}
		x.write(http.StatusOK, contentType(req.call.Codec, reply.Compress), reply.Payload)
	}
}

// echo repeats in the answer what rpcx's gateway does.
func (x *exchange) echo(req *request) {
	h := x.w.Header()
	h.Set(headerVersion, strconv.Itoa(int(req.version)))
	h.Set(headerID, strconv.FormatUint(req.id, 10))
	h.Set(headerPath, req.call.Path)
	h.Set(headerMethod, req.call.Method)
	h.Set(headerSerialize, strconv.Itoa(int(req.call.Codec)))
}

var errReplyMeta = status.Errorf(status.Internal, "the metadata of the reply has more than %d bytes, the most that a header of the gateway holds", maxReplyMeta)

// metaHeader puts the metadata of a reply into the header, if it is small enough.
func (x *exchange) metaHeader(reply *rpcruntime.ForeignReply) bool {
	if len(reply.Metadata) == 0 {
		return true
	}
	values := make(url.Values, len(reply.Metadata))
	for k, v := range reply.Metadata {
		values.Set(k, v)
	}
	encoded := values.Encode()
	if len(encoded) > maxReplyMeta {
		return false
	}
	x.w.Header().Set(headerMeta, encoded)
	return true
}

// failHeader says in the header how a call failed.
func (x *exchange) failHeader(e *status.Error, unexecuted bool) {
	h := x.w.Header()
	h.Set(headerStatus, "Error")
	h.Set(headerError, headerText(e.Message()))
	h.Set(headerCode, strconv.Itoa(int(e.Code())))
	h.Set(headerRetry, retryText(e, unexecuted))
	if after := e.RetryAfter(); after > 0 {
		h.Set(headerRetryAfter, strconv.FormatInt(int64((after+time.Second-1)/time.Second), 10))
	}
	if e.Code() == status.Unauthenticated {
		h.Set("WWW-Authenticate", "Bearer") // RFC 9110 wants a challenge with each 401
	}
}

// retryWord says what is known of the execution of a call that failed. Only the
// server knows whether it ran: the error may be that of the handler's own callee.
func retryWord(e *status.Error, unexecuted bool) string {
	switch {
	case unexecuted:
		return "unexecuted"
	case e.NoRetry():
		return "never"
	default:
		return "executed"
	}
}

// maxRetryMillis is the longest delay that the text has room for.
const maxRetryMillis = 999_999_999

// retryText is the value of X-Fairlead-Retry, in the form that __fl_retry has.
// docs/wire-protocol.md §9
func retryText(e *status.Error, unexecuted bool) string {
	text := retryWord(e, unexecuted)
	if ms := retryMillis(e); ms > 0 {
		text += ";after=" + strconv.FormatInt(ms, 10)
	}
	if reason := e.Reason(); isToken(reason) {
		text += ";reason=" + reason
	}
	return text
}

// retryMillis is the advised delay, rounded up; 0 if there is none.
func retryMillis(e *status.Error) int64 {
	after := e.RetryAfter()
	ms := int64(after / time.Millisecond)
	if after%time.Millisecond > 0 {
		ms++
	}
	return min(ms, maxRetryMillis)
}
