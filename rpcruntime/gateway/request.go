// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"fmt"
	"math"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/fairlead/fairlead/rpcruntime"
	"github.com/fairlead/fairlead/rpcruntime/codec"
	"github.com/fairlead/fairlead/rpcruntime/status"
)

// The headers that rpcx's gateway has, and ours. docs/gateway.md
const (
	headerPath      = "X-RPCX-ServicePath"
	headerMethod    = "X-RPCX-ServiceMethod"
	headerSerialize = "X-RPCX-SerializeType"
	headerCompress  = "X-RPCX-CompressType"
	headerID        = "X-RPCX-MessageID"
	headerVersion   = "X-RPCX-Version"
	headerOneway    = "X-RPCX-Oneway"
	headerHeartbeat = "X-RPCX-Heartbeat"
	headerMeta      = "X-RPCX-Meta"
	headerStatus    = "X-RPCX-MessageStatusType"
	headerError     = "X-RPCX-ErrorMessage"
	headerAuth      = "Authorization"
	headerJSONRPC   = "X-JSONRPC-2.0"

	headerCode       = "X-Fairlead-Code"
	headerRetry      = "X-Fairlead-Retry"
	headerRetryAfter = "Retry-After"
)

// requestHeaders are those that a caller may send.
var requestHeaders = []string{
	headerAuth, "Content-Type", headerPath, headerMethod, headerSerialize, headerCompress, headerID,
	headerVersion, headerOneway, headerHeartbeat, headerMeta, headerJSONRPC,
}

// responseHeaders are those that say something about a call.
var responseHeaders = []string{
	headerPath, headerMethod, headerSerialize, headerCompress, headerID, headerVersion, headerMeta,
	headerStatus, headerError, headerCode, headerRetry, headerRetryAfter,
}

// Keys of metadata that mean something here. docs/wire-protocol.md §5
const (
	hopPrefix  = "__fl" // of keys and paths: they belong to a connection of our own
	keyToken   = "__AUTH"
	keyTimeout = "__ServerTimeout"
)

// expired is a timeout that has passed already.
const expired time.Duration = -1

// refusal is a request that the gateway turns down itself: nobody has seen it.
type refusal struct {
	code int // of HTTP
	err  *status.Error
}

func refuse(httpCode int, code status.Code, format string, args ...any) *refusal {
	return &refusal{code: httpCode, err: status.Errorf(code, format, args...).WithFate(status.FateUnexecuted)}
}

func badRequest(format string, args ...any) *refusal {
	return refuse(http.StatusBadRequest, status.InvalidArgument, format, args...)
}

// request is what the header of a request says, in the form of a call without
// its payload, and what of it the answer repeats.
type request struct {
	call    rpcruntime.ForeignCall
	id      uint64
	version uint8
}

// parseRequest reads a call from the header and the path of a URL. It depends on
// nothing else.
func parseRequest(h http.Header, urlPath string) (request, *refusal) {
	p := headerParser{h: h}
	req := request{id: p.number(headerID, math.MaxUint64, false), version: uint8(p.number(headerVersion, math.MaxUint8, false))}
	call := &req.call
	if call.Path = p.text(headerPath); call.Path == "" {
		call.Path = strings.TrimPrefix(urlPath, "/")
	}
	call.Method = p.text(headerMethod)
	call.Codec = codec.Type(p.number(headerSerialize, uint64(codec.MaxType), true))
	call.Compress = codec.CompressType(p.number(headerCompress, uint64(codec.MaxCompressType), false))
	call.Oneway = p.text(headerOneway) != ""
	p.common(call)
	switch {
	case p.wrong != nil:
	case call.Path == "":
		p.fail(badRequest("no service is named: set %s, or the path of the URL", headerPath))
	case call.Method == "":
		p.fail(badRequest("no method is named: set %s", headerMethod))
	default:
		p.fail(checkNames(call.Path, call.Method))
	}
	return req, p.wrong
}

// parseCommon reads what JSON-RPC takes from the header: metadata and token.
func parseCommon(h http.Header) (call rpcruntime.ForeignCall, wrong *refusal) {
	p := headerParser{h: h}
	p.common(&call)
	return call, p.wrong
}

// checkNames says whether a path and a method may be called by way of the
// gateway. How long they may be is the server's to say.
func checkNames(path, method string) *refusal {
	if r := checkName("service", path); r != nil {
		return r
	}
	if r := checkName("method", method); r != nil {
		return r
	}
	if strings.HasPrefix(path, hopPrefix) {
		return refuse(http.StatusNotImplemented, status.Unimplemented, "rpcx: can't find service %s: paths that start with %q belong to the protocol", quoted(path), hopPrefix)
	}
	return nil
}

func checkName(what, name string) *refusal {
	if !utf8.ValidString(name) || strings.ContainsFunc(name, unicode.IsControl) {
		return badRequest("the name of the %s, %s, is not printable UTF-8", what, quoted(name))
	}
	return nil
}

// headerParser reads headers, and keeps the first thing that is wrong.
type headerParser struct {
	h     http.Header
	wrong *refusal
}

func (p *headerParser) fail(r *refusal) {
	if p.wrong == nil {
		p.wrong = r
	}
}

// text returns the value of a header, empty if there is none. One that stands
// twice is refused: what stands between the caller and us may have gone by the
// other.
func (p *headerParser) text(name string) string {
	values := p.h.Values(name)
	if len(values) > 1 {
		p.fail(badRequest("the header %s stands %d times: send it once", name, len(values)))
	}
	if len(values) == 0 {
		return ""
	}
	return values[0]
}

func (p *headerParser) number(name string, most uint64, required bool) uint64 {
	text := p.text(name)
	if text == "" {
		if required {
			p.fail(badRequest("the header %s is missing: it is a number from 0 to %d", name, most))
		}
		return 0
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil || n > most {
		p.fail(badRequest("the header %s is %s: it must be a number from 0 to %d", name, quoted(text), most))
	}
	return n
}

// common reads metadata, timeout and token.
func (p *headerParser) common(call *rpcruntime.ForeignCall) {
	call.Token = p.text(headerAuth)
	text := p.text(headerMeta)
	if text == "" {
		return
	}
	values, err := url.ParseQuery(text)
	if err != nil {
		p.fail(badRequest("the header %s is not an encoded query such as a=1&b=2: %w", headerMeta, err))
		return
	}
	call.Metadata = make(rpcruntime.Metadata, len(values))
	for key, v := range values {
		switch {
		case key == keyTimeout:
			call.Timeout = parseTimeout(v[0])
		case key == keyToken: // only the header Authorization is that
		case strings.HasPrefix(key, hopPrefix):
		default:
			call.Metadata[key] = v[0]
		}
	}
}

// parseTimeout reads what remains of a caller's time in milliseconds, as the
// server does on its own connections: what is not a number is no timeout.
// docs/wire-protocol.md §5
func parseTimeout(text string) time.Duration {
	ms, err := strconv.ParseInt(text, 10, 64)
	switch {
	case err != nil || ms > math.MaxInt64/int64(time.Millisecond):
		return 0
	case ms <= 0:
		return expired
	default:
		return time.Duration(ms) * time.Millisecond
	}
}

// maxQuoted bounds what an error repeats of a request. Bytes.
const maxQuoted = 64

// quoted is s for an error's text.
func quoted(s string) string {
	if len(s) <= maxQuoted {
		return fmt.Sprintf("%q", s)
	}
	return fmt.Sprintf("%q...", s[:maxQuoted])
}
