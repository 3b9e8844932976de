// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"github.com/go-logr/logr"

	"github.com/fairlead/fairlead/rpcruntime"
)

// server is what the gateway needs of a *rpcruntime.Server.
type server interface {
	Do(ctx context.Context, call *rpcruntime.ForeignCall) *rpcruntime.ForeignReply
}

// gateway is a Protocol. Its life:
//
//	made --Serve--> serving --Shutdown--> lingering --1 s, or no connection--> closing --all answered--> closed
//	                                                                              \--context ended--> cut
//
// While it lingers it takes requests as before, and ends each connection with
// its next answer. When it closes, connections without a request end, and the
// others with their answers. A cut ends all, and the contexts of handlers.
type gateway struct {
	opts    Options
	invalid error      // what is wrong with the options
	cors    *corsRules // nil: CORS is off
	http    http.Server
	conns   census
	linger  time.Duration // drainLinger; tests have their own
	bodies  budget
	helpers chan struct{} // holds one value per helping goroutine
	// cutContext ends when the gateway is cut or closed; all requests' contexts
	// come from it.
	cutContext context.Context
	cut        context.CancelFunc
	draining   atomic.Bool
	// taken: it has a server. srv and opts do not change after that.
	taken atomic.Bool
	srv   server
}

// New returns a gateway, to be given to one server by rpcruntime.WithProtocol. If
// something is wrong with the options (see Options.Validate), Serve says so.
func New(o Options) rpcruntime.Protocol { return newGateway(o) }

func newGateway(o Options) *gateway {
	g := &gateway{opts: o, invalid: o.Validate(), linger: drainLinger, helpers: make(chan struct{}, maxHelpers)}
	if g.invalid != nil {
		return g
	}
	g.cors, _ = newCORSRules(o.CORS) // valid, as Validate found
	g.cutContext, g.cut = context.WithCancel(context.Background())
	g.conns.init()
	var http1 http.Protocols
	http1.SetHTTP1(true)
	g.http = http.Server{
		Handler: g, Protocols: &http1,
		ErrorLog:    log.New(logWriter{o.Logger.V(1)}, "", 0),
		BaseContext: func(net.Listener) context.Context { return g.cutContext },
		ConnContext: withTLS,
		ConnState:   g.conns.note,
	}
	return g
}

// Match takes connections that start with a capital letter, as every method of
// HTTP/1 does.
func (g *gateway) Match(first byte) bool { return 'A' <= first && first <= 'Z' }

// Serve takes connections from ln until it is closed, or the gateway shuts down.
func (g *gateway) Serve(ln net.Listener, srv *rpcruntime.Server) error {
	if err := g.attach(srv, int64(srv.Limits().FrameBytes)); err != nil {
		_ = ln.Close() // why it is not served matters more
		return err
	}
	err := g.http.Serve(ln)
	if errors.Is(err, http.ErrServerClosed) || errors.Is(err, net.ErrClosed) {
		return nil
	}
	return fmt.Errorf("gateway: %w", err)
}

var errSecondServe = errors.New("gateway: it serves already: make a gateway for each server")

// attach gives the gateway the server that it serves, which takes so many bytes
// in a frame.
func (g *gateway) attach(srv server, frameBytes int64) error {
	if g.invalid != nil {
		return g.invalid
	}
	if !g.taken.CompareAndSwap(false, true) {
		return errSecondServe
	}
	g.srv = srv
	g.opts = g.opts.withDefaults(frameBytes)
	if err := g.opts.checkBodies(); err != nil {
		return err
	}
	g.bodies.limit = g.opts.MaxRequestBytes
	g.http.ReadHeaderTimeout, g.http.IdleTimeout = g.opts.HeaderTimeout, g.opts.IdleTimeout
	g.http.WriteTimeout = g.opts.WriteTimeout // for what net/http answers by itself; every answer of ours is given its own
	g.http.MaxHeaderBytes = g.opts.MaxHeaderBytes
	return nil
}

// Shutdown ends the gateway: see the type. It returns an error if it was cut.
func (g *gateway) Shutdown(ctx context.Context) error {
	if g.invalid != nil {
		return nil // it never served
	}
	defer g.cut()
	g.draining.Store(true)
	g.conns.wait(ctx, g.linger)
	err := g.http.Shutdown(ctx)
	if err == nil {
		g.conns.wait(ctx, cutMargin) // its goroutines end in a moment
		return nil
	}
	g.cut()
	_ = g.http.Close() // that it was cut matters more
	g.conns.wait(context.WithoutCancel(ctx), cutMargin)
	return fmt.Errorf("gateway: shutdown cut: %w", err)
}

// logWriter gives what net/http has to say to a logr.Logger.
type logWriter struct{ log logr.Logger }

var _ io.Writer = logWriter{}

// Write logs one line.
func (l logWriter) Write(line []byte) (int, error) {
	l.log.Info("http: " + strings.TrimSuffix(headerText(string(line)), "\n"))
	return len(line), nil
}
