// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package rpcxpeer

import (
	"context"
	"errors"
	"fmt"
	"net"
	"runtime/debug"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// Request is what a handler gets.
type Request struct {
	Message
	// Conn is where it came from, for pushes.
	Conn *ServerConn
}

// Handler serves a method. ctx carries the request's metadata, and an empty map
// for the response's; it ends at the caller's deadline only. A reply goes out
// beside an error, too.
type Handler func(ctx context.Context, req *Request) (reply []byte, err error)

// ServerConfig sets up a Server.
type ServerConfig struct {
	// Workers is the size of the pool that serves everything, heartbeats
	// included; what finds it busy waits, and so does the reading of its
	// connection. 0 runs a goroutine for each request.
	Workers int
	// Auth checks the token of each request but heartbeats; nil checks nothing.
	Auth func(ctx context.Context, req *Message, token string) error
	// Codecs are the serialize types that the server knows; nil is 0 to 4.
	Codecs []byte
}

// Server is a callee.
type Server struct {
	cfg    ServerConfig
	ln     net.Listener
	all    sync.WaitGroup
	jobs   chan func() // closed by Close when all connections are over
	pushed atomic.Uint64

	mu       sync.Mutex // guards what follows
	handlers map[string]map[string]Handler
	conns    map[*ServerConn]struct{}
	closed   bool
}

// ServerConn is the callee's side of one connection.
type ServerConn struct {
	srv *Server
	nc  net.Conn
	// busy are the requests that are being served.
	busy sync.WaitGroup
}

// NewServer returns a server on ln, which it owns, and starts to serve.
func NewServer(ln net.Listener, cfg ServerConfig) *Server {
	if cfg.Codecs == nil {
		cfg.Codecs = []byte{SerializeNone, SerializeJSON, SerializeProtobuf, SerializeMsgPack, SerializeThrift}
	}
	s := &Server{
		cfg: cfg, ln: ln, jobs: make(chan func()),
		handlers: map[string]map[string]Handler{}, conns: map[*ServerConn]struct{}{},
	}
	s.all.Go(s.accept)
	return s
}

// Addr is host:port.
func (s *Server) Addr() string { return s.ln.Addr().String() }

// Handle registers a method.
func (s *Server) Handle(path, method string, h Handler) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.handlers[path] == nil {
		s.handlers[path] = map[string]Handler{}
	}
	s.handlers[path][method] = h
}

// Close closes the listener and all connections, and waits for the handlers.
func (s *Server) Close() {
	s.mu.Lock()
	s.closed = true
	for c := range s.conns {
		_ = c.nc.Close() // whatever it says, it is over
	}
	s.mu.Unlock()
	_ = s.ln.Close()
	s.all.Wait()
}

func (s *Server) accept() {
	var conns, workers sync.WaitGroup
	for range s.cfg.Workers {
		workers.Go(func() {
			for job := range s.jobs {
				job()
			}
		})
	}
	for {
		nc, err := s.ln.Accept()
		if err != nil {
			break
		}
		c := &ServerConn{srv: s, nc: nc}
		s.mu.Lock()
		s.conns[c] = struct{}{}
		if s.closed {
			_ = nc.Close()
		}
		s.mu.Unlock()
		conns.Go(c.serve)
	}
	conns.Wait()
	close(s.jobs)
	workers.Wait()
}

// serve reads requests until one cannot be read, or is not let in.
func (c *ServerConn) serve() {
	defer func() {
		_ = c.nc.Close()
		c.busy.Wait()
		c.srv.mu.Lock()
		delete(c.srv.conns, c)
		c.srv.mu.Unlock()
	}()
	for {
		m, err := Read(c.nc)
		if err != nil {
			return // without an answer
		}
		if !m.Heartbeat && c.srv.cfg.Auth != nil {
			if err := c.srv.cfg.Auth(context.Background(), m, m.Meta[KeyAuth]); err != nil {
				c.fail(m, nil, nil, err)
				return
			}
		}
		if c.srv.cfg.Workers == 0 {
			c.busy.Go(func() { c.handle(m) })
			continue
		}
		c.busy.Add(1)
		c.srv.jobs <- func() {
			defer c.busy.Done()
			c.handle(m)
		}
	}
}

func (c *ServerConn) handle(m *Message) {
	if m.Heartbeat { // the same again, even if oneway
		m.Response = true
		c.write(m)
		return
	}
	response := map[string]string{}
	ctx := WithMeta(context.Background(), m.Meta, response)
	if ms, err := strconv.ParseInt(m.Meta[KeyServerTimeout], 10, 64); err == nil {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, time.Duration(ms)*time.Millisecond)
		defer cancel()
	}
	reply, err := c.invoke(ctx, m)
	if err != nil {
		c.fail(m, reply, response, err)
		return
	}
	c.answer(m, false, reply, response)
}

func (c *ServerConn) invoke(ctx context.Context, m *Message) (reply []byte, err error) {
	c.srv.mu.Lock()
	methods, known := c.srv.handlers[m.Path]
	h := methods[m.Method]
	c.srv.mu.Unlock()
	switch {
	case !known:
		return nil, errors.New("rpcx: can't find service " + m.Path)
	case h == nil:
		return nil, errors.New("rpcx: can't find method " + m.Method)
	case !slices.Contains(c.srv.cfg.Codecs, m.Serialize):
		return nil, fmt.Errorf("can not find codec for %d", m.Serialize)
	}
	defer func() {
		if p := recover(); p != nil {
			reply, err = nil, fmt.Errorf("[service internal error]: %v, method: %s, argv: %v, stack: %s", p, m.Method, m.Payload, debug.Stack())
		}
	}()
	return h(ctx, &Request{*m, c})
}

func (c *ServerConn) fail(m *Message, reply []byte, response map[string]string, err error) {
	meta := map[string]string{KeyError: err.Error()}
	for k, v := range response { // what a call of the handler's own brought goes out, too
		if meta[k] == "" {
			meta[k] = v
		}
	}
	c.answer(m, true, reply, meta)
}

// answer writes the response: the request's header, path and method, compressed
// if the request was.
func (c *ServerConn) answer(m *Message, failed bool, reply []byte, meta map[string]string) {
	if m.Oneway {
		return
	}
	r := *m
	r.Response, r.Failed, r.Meta, r.Payload = true, failed, meta, reply
	if len(reply) <= compressAbove {
		r.Compress = CompressNone
	}
	c.write(&r)
}

func (c *ServerConn) write(m *Message) {
	_, _ = c.nc.Write(m.Encode()) // the reader finds out
}

// SendMessage pushes a message to the caller: a oneway request without an answer.
func (c *ServerConn) SendMessage(path, method string, meta map[string]string, data []byte) error {
	m := &Message{Oneway: true, Seq: c.srv.pushed.Add(1), Path: path, Method: method, Meta: meta, Payload: data}
	_, err := c.nc.Write(m.Encode())
	return err
}

// Forward is the handler of a service in the middle, which calls the same method
// at another service and hands its own context on: all metadata of the request
// goes along, and all metadata of the answer comes back.
func Forward(next *XClient) Handler {
	return func(ctx context.Context, req *Request) ([]byte, error) {
		return next.Call(ctx, req.Method, req.Payload)
	}
}
