// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package transport

import (
	"bytes"
	"context"
	"net"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/fairlead/fairlead/rpcruntime/internal/buffer"
	"github.com/fairlead/fairlead/rpcruntime/status"
	"github.com/fairlead/fairlead/rpcruntime/wire"
)

// Handler takes what arrives at the callee's side of connections. The reader of
// each connection calls it: Announced and Request must not block.
type Handler interface {
	// Announced is told, before the connection's first request, who calls and
	// whom the caller believes to be calling. If that is not us, Request refuses.
	Announced(c *ServerConn, a *wire.Announcement)
	// Request takes an ordinary request, which must be ended by exactly one of
	// its Respond, Fail and Refuse. What in holds is the reader's until Keep.
	Request(in *Inbound)
	// Closed is told that a connection is over.
	Closed(c *ServerConn, reason error)
}

// ServerConn is the callee's side of a connection.
type ServerConn struct {
	*Conn
	// Attachment is the Handler's own; only its Announced and Request, which the
	// reader calls one at a time, may touch it.
	Attachment any

	callee *Callee
	// answers are the bytes of payloads of answers that wait to be appended.
	answers atomic.Int64

	mu sync.Mutex // guards what follows
	// running are the requests that can still be cancelled.
	running running
	// serving and servingBytes are the number and size of the requests whose
	// answers were not begun; calls and bytes also count those whose answers were
	// not yet appended to the writer.
	// Invariant: serving <= calls, servingBytes <= bytes.
	serving, calls      int
	servingBytes, bytes int64
	// gone is why the connection is over; nil until then.
	gone error
	// settled is closed when calls falls to 0; nil while nobody waits.
	settled chan struct{}
	// grace is what to tell callers in a drain; 0 while there is none.
	grace time.Duration
	// read counts the ordinary requests read. docs/wire-protocol.md §8
	read uint64
	// drained: a drain was started.
	drained bool

	// tellsLoad: the caller wants to be told the load; loadAt is when it last was.
	// The reader's.
	tellsLoad bool
	loadAt    time.Time

	// first is fired once the first ordinary request was read.
	first latch
	// readEnded is fired when the reader stopped at a frame boundary or failed.
	readEnded latch
	// mayEnd is fired when a drain has said all it has to.
	mayEnd latch
}

// Callee is what the callee's sides of many connections have in common.
type Callee struct {
	cfg     Config
	handler Handler
	// latest is what was announced on some connection.
	latest atomic.Pointer[wire.Announcement]
}

// NewCallee makes connections that take what arrives to h.
func NewCallee(cfg Config, h Handler) *Callee {
	return &Callee{cfg: cfg.withDefaults(), handler: h}
}

// share makes a hold the words of another connection's announcement where they are
// the same: mostly they are, for whom it is meant for at least is us.
func (e *Callee) share(a *wire.Announcement) {
	if l := e.latest.Load(); l != nil {
		for _, same := range [...]struct{ mine, other *string }{{&a.Caller, &l.Caller}, {&a.To, &l.To}, {&a.UID, &l.UID}} {
			if *same.mine == *same.other {
				*same.mine = *same.other
			}
		}
		if slices.Equal(a.Features, l.Features) {
			a.Features = l.Features
		}
	}
	e.latest.Store(a) // from now on it does not change
}

// NewServer is Callee.Serve for a single connection.
func NewServer(nc net.Conn, cfg Config, h Handler, read []byte) *ServerConn {
	return NewCallee(cfg, h).Serve(nc, read)
}

// Serve makes nc the callee's side of a connection and starts its reader.
// read are bytes of nc that were read already, to learn what it speaks; mostly
// none. They are copied. Safe for concurrent use.
func (e *Callee) Serve(nc net.Conn, read []byte) *ServerConn {
	c := &ServerConn{Conn: sharing(nc, &e.cfg), callee: e}
	c.role = (*serverRole)(c)
	c.r.preload(read)
	go c.run()
	return c
}

// Inbound is a request being served.
type Inbound struct {
	// Conn is where it came from.
	Conn *ServerConn
	// Header is the request's.
	Header wire.Header
	// Path, Method, Meta and Payload point into memory that is the reader's
	// until Keep, and the request's until it ends.
	Path, Method []byte
	Meta         wire.Meta
	Payload      []byte
	// Received is when the frame was read; Timeout counts from then. 0 is none.
	Received time.Time
	Timeout  time.Duration

	// answered takes the answer of a request without a connection; else nil.
	answered func(Answer)
	buf      *buffer.Buffer

	// The rest is guarded by Conn.mu.

	// size is what the request counts against the bounds of bytes.
	size  int64
	ender Ender
	// cancelled: the caller gave the call up, and sees no answer.
	cancelled bool
	// linked: the request is in Conn.running, by next, prev and hash.
	linked     bool
	next, prev *Inbound
	hash       uint64
}

// Ender is told that nobody waits for a running request any more: its connection
// was lost, or its caller gave up. It is called without locks held, perhaps more
// than once, and must not block.
type Ender interface {
	// ConnEnded: the connection is over.
	ConnEnded(reason error)
	// Cancelled: the caller gave the call up, and will see no answer.
	Cancelled()
}

// Answer is how a request that came by another way than a connection ended.
type Answer struct {
	// Err is nil for a success; Mark is as for Inbound.Fail.
	Err  *status.Error
	Mark wire.Retry
	// Meta and Payload may be read while the answer is being taken, and no longer.
	Meta     map[string]string
	Payload  []byte
	Compress wire.Compress
}

// NewInbound makes a request that came by another way than a connection, which
// is Handler.Request's to end like any other; answered is called then, once, also
// for oneway requests. Its Conn is nil.
func NewInbound(h wire.Header, path, method string, payload []byte, answered func(Answer)) *Inbound {
	return &Inbound{
		Header: h, Path: []byte(path), Method: []byte(method), Payload: payload, Received: time.Now(), answered: answered,
	}
}

var inboundPool = sync.Pool{New: func() any { return new(Inbound) }} // our own objects, never a user's

// Keep makes what the request holds outlive the reader's call: by a copy, or if
// it is large by taking over the reader's buffer. To be called once, by
// Handler.Request itself.
func (in *Inbound) Keep() {
	if in.Conn == nil {
		return // it was made to last
	}
	if in.buf = in.Conn.r.takeOver(); in.buf != nil {
		return
	}
	n := len(in.Path) + len(in.Method) + len(in.Meta) + len(in.Payload)
	in.buf = buffer.Get(n)
	keep := func(b []byte) []byte {
		at := len(in.buf.B)
		in.buf.B = append(in.buf.B, b...)
		return in.buf.B[at:len(in.buf.B):len(in.buf.B)]
	}
	in.Path, in.Method, in.Meta, in.Payload = keep(in.Path), keep(in.Method), keep(in.Meta), keep(in.Payload)
}

// OnEnd asks for e to be told when the connection is lost, or the caller gives
// up, before the request ends. If that has happened already it returns the
// reason instead: ErrCancelled, or why the connection ended.
func (in *Inbound) OnEnd(e Ender) error {
	if in.Conn == nil {
		return nil // whoever made it ends its context
	}
	in.Conn.mu.Lock()
	defer in.Conn.mu.Unlock()
	switch {
	case in.cancelled:
		return ErrCancelled
	case in.Conn.gone != nil:
		return in.Conn.gone
	}
	in.ender = e
	return nil
}

// Respond ends the request with a success. Payload follows the rule of
// Request.Payload. It writes nothing for a oneway request.
// compress says how payload is compressed already; an old caller understands
// only what its own request used.
func (in *Inbound) Respond(meta map[string]string, payload []byte, compress wire.Compress) {
	if in.answered != nil {
		in.answered(Answer{Meta: meta, Payload: payload, Compress: compress})
		return
	}
	f := outFrame{header: in.Header.Reply(wire.StatusNormal).WithCompress(compress), pathBytes: in.Path, methodBytes: in.Method, user: meta, payload: payload}
	in.end(&f, true)
}

// Fail ends the request with an error. mark is what the callee knows of its
// execution: RetryExecuted, with nothing else, puts no mark on the wire. Only
// the dispatcher may say unexecuted.
func (in *Inbound) Fail(e *status.Error, mark wire.Retry, meta map[string]string, payload []byte) {
	if in.answered != nil {
		in.answered(Answer{Err: e, Mark: mark, Meta: meta, Payload: payload})
		return
	}
	f := in.failure(e, mark)
	f.user, f.payload = meta, payload
	in.end(&f, true)
}

// Refuse is Fail for the reader: it does not write, it only appends.
func (in *Inbound) Refuse(e *status.Error, mark wire.Retry) {
	if in.answered != nil {
		in.answered(Answer{Err: e, Mark: mark})
		return
	}
	c := in.Conn // end gives in back
	f := in.failure(e, mark)
	in.end(&f, false)
	c.r.letGo()
	c.w.room()
}

func (in *Inbound) failure(e *status.Error, mark wire.Retry) outFrame {
	f := outFrame{header: in.Header.Reply(wire.StatusError), pathBytes: in.Path, methodBytes: in.Method}
	f.add(wire.KeyError, []byte(e.Message()))
	if in.Conn.Peer() == nil {
		return f // an old peer would only pass the rest on
	}
	f.addInt(wire.KeyCode, int64(e.Code()))
	if mark.Word != wire.RetryExecuted || mark.After > 0 || mark.Reason != "" {
		f.add(wire.KeyRetry, wire.AppendRetry(nil, mark))
	}
	if d := e.Details(); len(d) > 0 {
		f.add(wire.KeyDetails, d)
	}
	return f
}

func (in *Inbound) end(f *outFrame, write bool) {
	c := in.Conn
	others, wanted := c.forget(in)
	if wanted && !in.Header.Oneway() {
		if write {
			n := int64(len(f.payload))
			c.answers.Add(n)
			_ = c.w.send(context.Background(), time.Time{}, f, nil, others) // the connection's end is told to Ender
			c.answers.Add(-n)
		} else {
			_ = c.w.post(f) // as above
		}
	}
	c.account(in)
}

// forget unlinks a request whose answer is about to be appended, so that
// nobody tells it of its caller's or the connection's end any more. wanted is
// false if its caller has given it up.
func (c *ServerConn) forget(in *Inbound) (others, wanted bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.running.remove(in)
	in.ender = nil
	c.serving--
	c.servingBytes -= in.size
	return c.calls > 1, !in.cancelled
}

// account accounts for a request whose answer has been appended. Only now may a
// drain say bye: answers come before it.
func (c *ServerConn) account(in *Inbound) {
	c.mu.Lock()
	c.calls--
	c.bytes -= in.size
	c.release(in.size) // before anybody may see that the last request is over
	c.cfg.Counters.ServerCalls.Add(-1)
	if c.calls == 0 && c.settled != nil {
		close(c.settled)
		c.settled = nil
	}
	c.mu.Unlock()
	in.buf.Free()
	*in = Inbound{}
	inboundPool.Put(in)
}

// InFlight counts the requests being served on the connection.
func (c *ServerConn) InFlight() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.calls
}

// Push sends a message that nobody asked for, as rpcx's SendMessage does; s says
// how payload is encoded, which is SerializeRaw for rpcx. It waits for room until
// ctx ends. Payload follows the rule of Request.Payload.
func (c *ServerConn) Push(ctx context.Context, s wire.Serialize, path, method string, payload []byte) error {
	f := outFrame{header: wire.RequestHeader(0, s, true), path: path, method: method, payload: payload}
	return c.w.send(ctx, time.Time{}, &f, nil, false)
}

// serverRole is the reader's part of a ServerConn.
type serverRole ServerConn

func (c *serverRole) conn() *ServerConn { return (*ServerConn)(c) }

func (c *serverRole) frame(f wire.Frame) error {
	switch {
	case f.Response():
		c.cfg.Counters.UnknownResponses.Add(1)
	case f.Heartbeat():
		c.heartbeat(f)
	case string(f.Path) == wire.ControlPath && f.Oneway():
		c.control(f)
	default:
		c.request(f)
		if l := c.lone.Load(); l != nil && l.here != nil {
			return c.conn().runHere(l)
		}
	}
	return nil
}

// standBy: the callee's reader leaves its place only while it runs a handler.
func (c *serverRole) standBy() (bool, error) { return false, nil }

func (c *serverRole) ended() {}

// maxHeartbeat bounds the metadata and payload of a heartbeat, which are kept until
// the peer reads them again. Those of real peers are of some ten bytes.
const maxHeartbeat = 128 << 10

// heartbeat answers with the very frame, metadata and payload included, even if
// the oneway bit is set. docs/wire-protocol.md §6
func (c *serverRole) heartbeat(f wire.Frame) {
	if len(f.Meta)+len(f.Payload) > maxHeartbeat {
		c.cfg.Counters.OverLimit.Add(1)
		return
	}
	reply := outFrame{header: f.Header, path: string(f.Path), method: string(f.Method), payload: f.Payload}
	if len(reply.payload) >= byReference {
		reply.payload = bytes.Clone(reply.payload) // for it is the reader's
	}
	reply.header.Flags |= 0x80
	reply.raw = f.Meta
	_ = c.w.post(&reply) // fails only when the connection is over
	c.w.room()
}

func (c *serverRole) request(f wire.Frame) {
	in, _ := inboundPool.Get().(*Inbound)
	*in = Inbound{
		Conn: c.conn(), Header: f.Header, Path: f.Path, Method: f.Method, Meta: f.Meta, Payload: f.Payload,
		Received: c.r.lastRead, size: int64(len(f.Meta) + len(f.Payload)),
	}
	c.r.unhold() // from here on it counts as a request
	first, alone, refused := c.track(in)
	c.note(alone && !c.r.partial())
	if first {
		c.firstRequest(f)
	}
	c.sendLoad()
	if refused != nil {
		c.cfg.Counters.Refused.Add(1)
		c.cfg.Log.V(1).Info("request refused", "peer", c.RemoteAddr().String(), "reason", refused.Message())
		in.Refuse(refused, wire.Retry{Word: wire.RetryUnexecuted, Reason: wire.ReasonLimit})
		return
	}
	in.Timeout = serverTimeout(f.Meta)
	c.callee.handler.Request(in)
}

// firstRequest looks for the announcement, which counts only in the very frame
// whose seq it names.
func (c *serverRole) firstRequest(f wire.Frame) {
	defer c.first.fire()
	value, ok := f.Meta.Get(wire.KeyAnnounce)
	if !ok {
		return
	}
	a, ok := wire.ParseAnnouncement(value)
	if !ok || a.Seq != f.Seq {
		return
	}
	c.callee.share(&a)
	c.peer.Store(&a)
	c.tellsLoad = c.cfg.Load != nil && wire.Has(a.Features, wire.FeatureLoad)
	c.callee.handler.Announced(c.conn(), &a)
	hello := wire.AppendHello(nil, wire.Hello{Seq: f.Seq, Features: c.features()})
	c.w.control(controlHeader(), wire.ControlPath, wire.MethodHello, hello)
	c.sendWindow()
	c.mu.Lock()
	grace := c.grace
	c.mu.Unlock()
	if grace > 0 {
		c.conn().sendDrain(grace)
	}
}

// controlHeader is the header of every control frame: a oneway request.
func controlHeader() wire.Header { return wire.RequestHeader(0, wire.SerializeRaw, true) }

// oversized answers from the header. The connection is kept if the frame could
// be thrown away, and was not the one to say who calls whom.
func (c *serverRole) oversized(o *oversized) error {
	h := o.header
	first := false
	if !h.Response() && !h.Heartbeat() {
		c.mu.Lock()
		c.read++
		first = c.read == 1
		c.mu.Unlock()
		if first {
			c.first.fire()
		}
		if !h.Oneway() {
			in := Inbound{Conn: c.conn(), Header: h}
			f := in.failure(status.New(status.ResourceExhausted, "request: "+o.err.Error()), wire.Retry{Word: wire.RetryUnexecuted, Reason: wire.ReasonLimit})
			_ = c.w.post(&f) // fails only when the connection is over
			c.w.room()
		}
	}
	if first || !o.err.Discardable {
		c.conn().startDrain(0, c.cfg.DrainTimeout)
		return errStopReading
	}
	return nil
}

func (c *serverRole) idleTick() time.Duration {
	return min(c.cfg.HeartbeatInterval, c.cfg.IdleTimeout)
}

func (c *serverRole) quiet() {
	c.mu.Lock()
	c.running.trim()
	c.mu.Unlock()
}

// silentBeats is after how many intervals without a byte a subscriber, which
// owes a heartbeat in each, is given up. Nothing else would notice that it went
// away without a word, as long as there is nothing to push.
const silentBeats = 3

// tick drains idle connections away, and ends those of subscribers that are gone.
func (c *serverRole) tick(now time.Time) error {
	c.mu.Lock()
	busy := c.calls > 0
	c.mu.Unlock()
	silent := now.Sub(c.r.lastRead)
	switch {
	case c.subscribed.Load():
		if c.peer.Load() != nil && silent >= silentBeats*c.cfg.HeartbeatInterval {
			return &deadError{silent}
		}
	case !busy && silent >= c.cfg.IdleTimeout:
		c.conn().startDrain(0, c.cfg.WriteTimeout)
	}
	return nil
}

// stopped waits for the drain that stopped the reading to say the rest.
func (c *serverRole) stopped() {
	c.readEnded.fire()
	<-c.mayEnd.done()
}

func (c *serverRole) over(reason error) {
	c.readEnded.fire()
	c.mu.Lock()
	c.gone = reason
	drained := c.drained
	var enders []Ender
	c.running.each(func(in *Inbound) {
		if in.ender != nil {
			enders = append(enders, in.ender)
		}
	})
	c.mu.Unlock()
	for _, e := range enders {
		e.ConnEnded(reason)
	}
	if drained {
		<-c.mayEnd.done()
	}
	c.callee.handler.Closed(c.conn(), reason)
}

// serverTimeout reads what remains of the caller's attempt; unreadable is none.
func serverTimeout(m wire.Meta) time.Duration {
	value, ok := m.Get(wire.KeyServerTimeout)
	if !ok {
		return 0
	}
	ms, err := strconv.ParseInt(string(value), 10, 64)
	switch {
	case err != nil || ms > int64(1<<63-1)/int64(time.Millisecond):
		return 0
	case ms <= 0:
		return 1 // spent already: expires at once
	}
	return time.Duration(ms) * time.Millisecond
}
