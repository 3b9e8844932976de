// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package transport

import (
	"cmp"
	"context"
	"errors"
	"net"
	"sync/atomic"
	"time"

	"github.com/fairlead/fairlead/rpcruntime/status"
	"github.com/fairlead/fairlead/rpcruntime/wire"
)

// Events tells the calling side what happens to a connection. The reader calls
// the methods: they must not block, call Close, or keep the bytes.
type Events interface {
	// Draining: the callee asked to be left alone for new calls. Called once.
	Draining(c *ClientConn)
	// Push is a message that the callee sent without being asked.
	// The frame's bytes are the reader's: valid until the method returns.
	Push(c *ClientConn, f wire.Frame)
	// Ended: the connection is over and all its calls have ended.
	Ended(c *ClientConn, reason error)
}

// ClientConn is the calling side of a connection. Do may be called by any
// number of goroutines.
type ClientConn struct {
	*Conn
	calls    *slots
	events   Events
	announce wire.Announcement
	draining atomic.Bool
	// load is the latest that the callee told; nil until it did.
	load atomic.Pointer[wire.Load]
	// shut: no new calls are taken; as calls.closed, without its lock.
	shut atomic.Bool

	cancels cancels // guarded by w.mu
	// answered: the peer answered before any hello.
	answered atomic.Bool

	// The rest belongs to the reader.

	// old: the peer answered without a hello.
	old bool
	// bye is the number of requests that the callee read, once it said so.
	bye    uint64
	hasBye bool
	// beat is set while a heartbeat is unanswered; slow once that was counted.
	beat, slow bool
	beatSeq    uint64
	// appended is what had been sent at activeAt, when it last grew.
	appended uint64
	activeAt time.Time
}

// NewClient makes nc the calling side of a connection and starts its reader.
// announce says who calls and whom (Seq and Features are filled in here).
// cfg.Wheel is required.
func NewClient(nc net.Conn, cfg Config, announce wire.Announcement, events Events) *ClientConn {
	c := &ClientConn{Conn: newConn(nc, cfg), events: events, announce: announce}
	c.announce.Features = callerFeatures
	c.calls = newSlots(c.cfg.MaxCalls, c.cfg.Counters, c.expired)
	c.w.calls = c.calls
	c.role = (*clientRole)(c)
	go c.run()
	return c
}

// Request is a call as it goes onto a connection.
type Request struct {
	// Path and Method name the method.
	Path, Method string
	// Serialize says how Payload is encoded, Compress how it is compressed.
	Serialize wire.Serialize
	Compress  wire.Compress
	// Token goes with the call as __AUTH; empty sends none.
	Token string
	// Meta is the user's metadata. It is not kept.
	Meta map[string]string
	// Payload is kept until written, also after Do returned, if it has 64 KiB
	// or more: it must not be changed then.
	Payload []byte
	// Timeout is what the callee is told to have, from when it read the frame;
	// 0 tells it nothing.
	Timeout time.Duration
	// Attempt is put on the wire from 2 on.
	Attempt int
	// Oneway calls get no answer: Do returns nil once the frame's last byte was
	// written.
	Oneway bool
}

// Do sends a request and waits for its response, until ctx ends or the deadline
// passes (zero: none). The result is to be released.
//
// A connection at its peer's window makes it wait for its turn first; if that
// does not come before the end of ctx or the deadline it fails with
// ResourceExhausted, unexecuted, ReasonWindow. With 2 times Config.MaxCalls calls
// on the connection, or 1 time if the peer said no window, it fails at once.
//
// A request that is given up while it still waits in the buffer is taken out, and
// then unexecuted; of one that left, the callee is told, unless it knows the
// deadline that passed.
//
// A nil error means that a response came, which may itself be an error of the
// callee: ReadError tells. Otherwise the error is a *status.Error with what is
// known about the execution.
func (c *ClientConn) Do(ctx context.Context, deadline time.Time, req *Request) (Result, error) {
	s, err := c.begin(ctx, deadline, req)
	if err != nil {
		return Result{}, err
	}
	return c.await(ctx, deadline, s)
}

// begin sends a request. It is apart from Do so that a call which waits, of which
// there may be thousands, does not have its frame on the stack any more.
func (c *ClientConn) begin(ctx context.Context, deadline time.Time, req *Request) (*slot, error) {
	f := outFrame{path: req.Path, method: req.Method, user: req.Meta, payload: req.Payload, request: true, announce: &c.announce}
	if req.Timeout > 0 {
		f.addInt(wire.KeyServerTimeout, max(1, (req.Timeout+time.Millisecond-1).Milliseconds()))
	}
	if req.Token != "" {
		f.add(wire.KeyAuth, []byte(req.Token))
	}
	if req.Attempt > 1 {
		f.addInt(wire.KeyAttempt, int64(req.Attempt))
	}
	size := f.size()
	if size > wire.MaxFrame-2*wire.PrefixLen-maxAnnouncement {
		return nil, status.Errorf(status.InvalidArgument, "request of %d bytes: a frame holds at most %d", size, int64(wire.MaxFrame)).WithFate(status.FateUnexecuted)
	}
	s, others, waits := c.calls.acquire(int64(size - wire.FrameLen(len(req.Path), len(req.Method), 0, 0)))
	if s == nil {
		return nil, c.full()
	}
	s.told = req.Timeout > 0
	f.header = wire.RequestHeader(s.seq, req.Serialize, req.Oneway).WithCompress(req.Compress)
	if waits {
		if err := c.awaitTurn(ctx, deadline, s); err != nil {
			c.abandon(s)
			return nil, err
		}
	}
	if err := c.w.send(ctx, deadline, &f, s, others); err != nil {
		c.abandon(s)
		return nil, c.unsent(err)
	}
	return s, nil
}

// maxAnnouncement bounds the metadata entry that a first request carries more.
const maxAnnouncement = 8 + len(wire.KeyAnnounce) + wire.MaxAnnouncement

// await waits for the end of a call that was sent.
func (c *ClientConn) await(ctx context.Context, deadline time.Time, s *slot) (Result, error) {
	timed := !deadline.IsZero()
	if timed {
		c.cfg.Wheel.Schedule(&s.timer, deadline)
	}
	if l := c.lone.Load(); l != nil {
		c.readHere(l, s)
	}
	c.awaitEnd(ctx, deadline, s)
	result, err := s.result, s.err
	if !timed || c.cfg.Wheel.Stop(&s.timer) {
		s.release() // else the wheel may still look at it: leave it to the collector
	}
	if err != nil {
		return Result{}, callError(err)
	}
	return result, nil
}

// awaitEnd waits until the call has ended, and ends it if ctx does.
func (c *ClientConn) awaitEnd(ctx context.Context, deadline time.Time, s *slot) {
	end := ctx.Done()
	if end == nil { // a plain receive costs less than a select
		<-s.done
		return
	}
	select {
	case <-s.done:
	case <-end:
		passed := !deadline.IsZero() && !time.Now().Before(deadline)
		c.giveUp(s, ctx.Err(), !s.told || !passed)
		<-s.done
	}
}

// abandon takes back a slot whose request waits for nothing.
func (c *ClientConn) abandon(s *slot) {
	if c.calls.take(s.seq) == nil {
		<-s.done // the connection's end took it
	}
	s.release()
}

// full is the error when the table has no room.
func (c *ClientConn) full() error {
	if c.calls.isClosed() {
		return c.unsent(cmp.Or(c.Err(), errClosed))
	}
	return status.Errorf(status.ResourceExhausted, "%d calls are in flight on the connection to %s already", c.calls.inFlight(), c.RemoteAddr()).
		WithFate(status.FateUnexecuted)
}

// unsent is the error of a request no byte of which left.
func (c *ClientConn) unsent(err error) error {
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return status.Convert(err).WithFate(status.FateUnexecuted)
	}
	return status.New(status.Unavailable, err.Error()).WithCause(err).WithFate(status.FateUnexecuted).WithReason(ReasonUnsent)
}

// Reasons of errors that the transport makes, beside those of package wire.
const (
	// ReasonUnsent: the frame never left whole.
	ReasonUnsent = "unsent"
	// ReasonBye: the callee said that it never read the request.
	ReasonBye = "bye"
	// ReasonLost: the connection was lost after the request left.
	ReasonLost = "connection-lost"
	// ReasonWindow: the peer's window had no room in time.
	ReasonWindow = "window"
)

// errDeadline ends calls whose deadline passed.
var errDeadline = status.New(status.DeadlineExceeded, "no answer before the deadline").WithCause(context.DeadlineExceeded)

// errDeadlineUnsent is errDeadline for those whose request did not leave.
var errDeadlineUnsent = status.New(status.DeadlineExceeded, "the deadline passed before the request left").
	WithCause(context.DeadlineExceeded).WithFate(status.FateUnexecuted)

// callError makes a *status.Error of what ended a call that was sent.
func callError(err error) error {
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return status.Convert(err) // which returns a *status.Error as it is
	}
	return err
}

// Drain takes no new calls, waits until those in flight have ended or ctx ends,
// then closes the connection and waits until it is over.
func (c *ClientConn) Drain(ctx context.Context) {
	c.shut.Store(true)
	c.calls.close()
	select {
	case <-c.calls.whenEmpty():
		c.sayEnd(ctx)
	case <-ctx.Done():
	case <-c.Ended():
	}
	c.Close()
}

// sayEnd half-closes, and waits until the callee has read everything and closes,
// too. Closing at once, with something of the callee's still under way, would make
// the kernel throw away what the callee has not read yet: oneway calls, say.
func (c *ClientConn) sayEnd(ctx context.Context) {
	c.w.close(errClosed)
	c.w.settle()
	half, ok := c.nc.(interface{ CloseWrite() error })
	if !ok || half.CloseWrite() != nil {
		return
	}
	t := time.NewTimer(linger)
	defer t.Stop()
	select {
	case <-c.Ended():
	case <-ctx.Done():
	case <-t.C:
	}
}

// Heard reports whether the callee has answered anything, a hello included.
func (c *ClientConn) Heard() bool { return c.peer.Load() != nil || c.answered.Load() }

// Draining reports whether new calls should use another connection.
func (c *ClientConn) Draining() bool { return c.draining.Load() }

// Shut reports whether the connection takes no calls any more.
func (c *ClientConn) Shut() bool { return c.shut.Load() }

// InFlight counts the calls that wait for an answer.
func (c *ClientConn) InFlight() int { return c.calls.inFlight() }
