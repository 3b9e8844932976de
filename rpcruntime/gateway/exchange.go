// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"time"

	"github.com/fairlead/fairlead/rpcruntime"
	"github.com/fairlead/fairlead/rpcruntime/status"
)

const allowedMethods = "GET, POST, PUT, OPTIONS"

var errSwitchedOff = refuse(http.StatusNotFound, status.Unimplemented, "requests of this kind are switched off here")

var errOtherHTTP = refuse(http.StatusHTTPVersionNotSupported, status.Unimplemented, "this version of HTTP is not spoken here: use HTTP/1.1")

func refuseMethod(method string) *refusal {
	return refuse(http.StatusMethodNotAllowed, status.InvalidArgument, "the HTTP method %s is not for calls: the header Allow has those that are", quoted(method))
}

type tlsKey struct{}

// withTLS keeps the state of a connection's TLS, if it has any, for those who ask
// who calls.
func withTLS(ctx context.Context, nc net.Conn) context.Context {
	if c, ok := nc.(interface{ ConnectionState() tls.ConnectionState }); ok {
		state := c.ConnectionState()
		return context.WithValue(ctx, tlsKey{}, &state)
	}
	return ctx
}

// peerOf says who sent a request, as far as its connection tells.
func peerOf(r *http.Request) rpcruntime.Peer {
	state, _ := r.Context().Value(tlsKey{}).(*tls.ConnectionState)
	return rpcruntime.Peer{Addr: r.RemoteAddr, TLS: state}
}

// exchange is a request being answered. It belongs to the request's goroutine.
type exchange struct {
	g  *gateway
	w  http.ResponseWriter
	r  *http.Request
	rc *http.ResponseController
}

// ServeHTTP answers one request. What a request is, is decided by itself and not
// by those before it on the connection.
func (g *gateway) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	x := &exchange{g: g, w: w, r: r, rc: http.NewResponseController(w)}
	if r.Body != http.NoBody {
		// Also for a body that nobody wants, which net/http discards.
		_ = x.rc.SetReadDeadline(time.Now().Add(g.opts.BodyTimeout)) // not every ResponseWriter has deadlines
	}
	if g.cors != nil {
		if code := g.cors.apply(w.Header(), r); code != 0 {
			x.write(code, "", nil)
			return
		}
	}
	switch jsonRPC := g.isJSONRPC(r); {
	case r.ProtoMajor != 1: // net/http hands on how HTTP/2 begins
		w.Header().Set("Connection", "close")
		x.refuse(errOtherHTTP)
	case r.Method == http.MethodOptions:
		w.Header().Set("Allow", allowedMethods)
		x.write(http.StatusNoContent, "", nil)
	case jsonRPC && g.opts.WithoutJSONRPC, !jsonRPC && g.opts.WithoutHTTP:
		x.refuse(errSwitchedOff)
	case jsonRPC:
		x.serveJSONRPC()
	default:
		x.serveCall()
	}
}

// serveCall answers a call by X-RPCX-* headers.
func (x *exchange) serveCall() {
	switch x.r.Method {
	case http.MethodGet, http.MethodPost, http.MethodPut:
	default:
		x.w.Header().Set("Allow", allowedMethods)
		x.refuse(refuseMethod(x.r.Method))
		return
	}
	req, wrong := parseRequest(x.r.Header, x.r.URL.Path)
	if wrong != nil {
		x.refuse(wrong)
		return
	}
	x.echo(&req)
	b, wrong := x.readBody()
	if wrong != nil {
		x.refuse(wrong)
		return
	}
	defer b.free()
	req.call.Payload, req.call.Peer = b.bytes, peerOf(x.r)
	x.respond(&req, x.g.srv.Do(x.r.Context(), &req.call))
}

// readBody reads the body. With its end BodyTimeout is over: net/http takes the
// deadline away when it begins to watch for the end of the connection.
func (x *exchange) readBody() (*body, *refusal) {
	return readBody(x.w, x.r, x.g.opts.MaxBodyBytes, &x.g.bodies)
}
