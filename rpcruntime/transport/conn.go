// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package transport

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/fairlead/fairlead/rpcruntime/internal/buffer"
	"github.com/fairlead/fairlead/rpcruntime/wire"
)

// Conn is one multiplexed connection, of either role. See doc.go for the states.
//
// It has one goroutine of its own, the reader, and one that comes and goes, the
// flusher. The reader ends the connection: whatever breaks, it is woken, waits
// until nobody writes, and then ends every call with what is known about it.
type Conn struct {
	nc   net.Conn
	cfg  *Config // perhaps that of many connections; does not change
	role role

	w writer
	r frameReader

	// peer is set once announcement and hello have been exchanged.
	peer atomic.Pointer[wire.Announcement]

	// subscribed connections are never idle, and send heartbeats.
	subscribed atomic.Bool
	// stopping asks the reader to stop at the next frame boundary.
	stopping atomic.Bool
	// lone is nil until it is needed: see there, and here.
	lone atomic.Pointer[lone]
	// streak counts the lone calls in a row, woken the frames that others were woken
	// for, in turns of letRun. The reader's.
	streak, woken int16
	endOnce       sync.Once
	// reason is why the connection ended; set once, before ended is fired.
	reason error
	// ended is fired by the first that ends the connection.
	ended latch
	// done is fired by the reader when everything of the connection has ended.
	done    latch
	flusher sync.WaitGroup
}

// role is what differs between the two sides of a connection. All methods are
// called by the reader.
type role interface {
	// frame handles one frame. An error ends the connection.
	frame(f wire.Frame) error
	// oversized handles a frame that is over a limit.
	oversized(o *oversized) error
	// quiet is called when nothing came for a moment: it frees memory.
	quiet()
	// tick is called when nothing came for longer: see idleTick.
	tick(now time.Time) error
	// standBy is called before the reader reads, and may let others read first.
	// waited says that it has, and that there may be frames to handle.
	standBy() (waited bool, err error)
	// ended is called, by anybody, when the connection begins to end.
	ended()
	// stopped is called when reading stopped at a frame boundary.
	stopped()
	// over is called at the very end.
	over(reason error)
	// idleTick is how long to wait between ticks.
	idleTick() time.Duration
}

// errQuiet ends a goroutine of the reader, which goes on in another.
var errQuiet = errors.New("nothing to read")

// errClosed is the end that this side asked for.
var errClosed = errors.New("connection closed")

// errIdle is the end of a connection that nobody used.
var errIdle = errors.New("connection idle")

func newConn(nc net.Conn, cfg Config) *Conn {
	cfg = cfg.withDefaults()
	return sharing(nc, &cfg)
}

// sharing is newConn with a cfg that has its defaults, and that others may use.
func sharing(nc net.Conn, cfg *Config) *Conn {
	c := &Conn{nc: nc, cfg: cfg}
	_, isTLS := nc.(*tls.Conn)
	c.w = writer{nc: nc, cfg: cfg, resumable: !isTLS, flushed: &c.flusher, fatal: c.end, writing: &nothing}
	c.r = frameReader{nc: nc, cfg: cfg}
	c.r.init(time.Now())
	cfg.Counters.Connections.Add(1)
	return c
}

// run is the reader from where the connection is quiet: it waits with a stack of
// the smallest size, which work makes grow. A stack that has grown twofold never
// shrinks that far again, so the next quiet begins with a new goroutine.
func (c *Conn) run() {
	if c.r.unread {
		c.work(false, nil)
		return
	}
	c.work(c.r.rest(c.role.idleTick(), &c.stopping))
}

// work reads and handles frames until the connection is quiet or over, beginning
// with what a wait for bytes has returned.
func (c *Conn) work(timeout bool, err error) {
	c.r.begin()
	err = c.readLoop(timeout, err)
	if errors.Is(err, errQuiet) {
		go c.run() // still the reader: done waits for it
		return
	}
	if errors.Is(err, errReplaced) {
		return
	}
	defer c.done.fire()
	if errors.Is(err, errStopReading) {
		c.r.release()
		c.w.flushHere() // the drain may have to wait for others
		c.role.stopped()
		err = errClosed
	}
	c.end(err)
	c.w.settle()
	c.flusher.Wait()
	c.r.release()
	c.role.over(c.reason)
	if l := c.lone.Load(); l != nil {
		l.stop()
	}
	c.w.abandon()
	c.cfg.Counters.Connections.Add(-1)
}

func (c *Conn) readLoop(timeout bool, err error) error {
	for {
		switch {
		case c.stopping.Load():
			return errStopReading
		case err != nil:
			return err
		case timeout && !c.r.partial():
			return c.quiet()
		}
		if err := c.parseAll(); err != nil {
			return err
		}
		var waited bool
		if waited, err = c.role.standBy(); waited || err != nil {
			timeout = false
			continue
		}
		timeout, err = c.r.readMore(c.cfg.FrameTimeout, c.role.idleTick(), &c.stopping)
	}
}

// quiet is called when nothing came for a while. It lets go of what only a busy
// connection needs.
func (c *Conn) quiet() error {
	c.w.trim()
	c.role.quiet()
	if now := time.Now(); !now.Before(c.r.since.Add(c.role.idleTick())) {
		c.r.since = now
		if err := c.role.tick(now); err != nil {
			return err
		}
	}
	c.r.pause()
	return errQuiet
}

// letRun is after how many frames the reader lets those run that it woke. Their
// stacks and buffers are then still in the processor's cache, and are used again
// for the next: with 1,000 callers that is worth a fifth of the CPU time of a call,
// with 5,000 two fifths.
const letRun = 32

// parseAll handles every whole frame that has been read.
func (c *Conn) parseAll() error {
	c.woken = 0
	for {
		if c.stopping.Load() {
			return errStopReading
		}
		if c.woken >= letRun {
			c.woken = 0
			runtime.Gosched()
		}
		if more, err := c.parseOne(); err != nil || !more {
			return err
		}
	}
}

// parseOne handles the next frame, if it has been read whole.
func (c *Conn) parseOne() (more bool, err error) {
	f, over, ok, err := c.r.next()
	switch {
	case err != nil:
		c.cfg.Counters.Malformed.Add(1)
		return false, err
	case over != nil:
		c.cfg.Counters.OverLimit.Add(1)
		c.cfg.Log.V(1).Info("frame over a limit", "peer", c.nc.RemoteAddr().String(), "reason", over.err.Error())
		return true, c.role.oversized(over)
	case !ok:
		return false, nil
	default:
		c.cfg.Counters.FramesRead.Add(1)
		c.woken++
		return true, c.role.frame(f)
	}
}

// end ends the connection; the first reason is kept. It does not wait.
func (c *Conn) end(reason error) {
	c.endOnce.Do(func() {
		c.reason = reason
		c.w.close(reason)
		c.ended.fire()
		if err := c.nc.Close(); err != nil {
			c.cfg.Log.V(1).Info("closing a connection failed", "peer", c.nc.RemoteAddr().String(), "error", err.Error())
		}
		c.role.ended()
		c.logEnd(reason)
	})
}

func (c *Conn) logEnd(reason error) {
	var malformed *wire.MalformedError
	peer := c.nc.RemoteAddr().String()
	if errors.As(reason, &malformed) {
		c.cfg.Log.Info("connection ended: the peer sent what cannot be a frame", "peer", peer, "reason", reason.Error())
		return
	}
	c.cfg.Log.V(1).Info("connection ended", "peer", peer, "reason", reason.Error())
}

// stopReading wakes the reader and makes it stop at a frame boundary.
func (c *Conn) stopReading() {
	c.stopping.Store(true)
	_ = c.nc.SetReadDeadline(time.Unix(1, 0)) // a connection that is gone needs no waking
}

// finishWriting half-closes the connection once all that was appended has been
// written, then discards input until the peer closes too, for at most a second.
// Closing with unread input would make the kernel throw away answers still
// unsent. docs/wire-protocol.md §8
func (c *Conn) finishWriting() {
	c.w.flushHere() // answers that whoever put them there had not come to write
	c.w.close(errClosed)
	c.w.settle()
	half, ok := c.nc.(interface{ CloseWrite() error })
	if !ok || half.CloseWrite() != nil {
		return
	}
	if c.nc.SetReadDeadline(time.Now().Add(linger)) != nil {
		return
	}
	buf := buffer.Get(discardChunk)
	defer buf.Free()
	for {
		if _, err := c.nc.Read(buf.B[:cap(buf.B)]); err != nil {
			return // EOF, or the deadline: either is the end
		}
	}
}

// discardChunk is the buffer to discard input with.
const discardChunk = 4 << 10

// linger is how long input is discarded after half-close.
const linger = time.Second

// Close ends the connection at once and waits until everything of it is over.
// Calls in flight fail. It must not be called by a handler's own reader callback.
func (c *Conn) Close() {
	c.end(errClosed)
	<-c.done.done()
}

// Done is closed when everything of the connection is over.
func (c *Conn) Done() <-chan struct{} { return c.done.done() }

// Err returns why the connection ended, or nil while it has not.
func (c *Conn) Err() error {
	if !c.ended.fired() {
		return nil
	}
	return c.reason
}

// Ended is closed when the connection begins to end, for whatever reason: before
// its calls are ended and before Done.
func (c *Conn) Ended() <-chan struct{} { return c.ended.done() }

// RemoteAddr returns the address of the peer.
func (c *Conn) RemoteAddr() net.Addr { return c.nc.RemoteAddr() }

// Peer returns the peer's announcement once announcement and hello have been
// exchanged, else nil: for a peer that does not speak the extensions, or has not
// yet. On the calling side only its Features are set. It must not be changed.
func (c *Conn) Peer() *wire.Announcement { return c.peer.Load() }

// SetSubscribed marks a connection that pushes arrive on: it is never idle.
func (c *Conn) SetSubscribed(on bool) { c.subscribed.Store(on) }

// SetSource sets who is asked for frames when the connection is writable. Set it
// before the first Wake.
func (c *Conn) SetSource(s Source) {
	c.w.mu.Lock()
	c.w.source = s
	c.w.mu.Unlock()
}

// Wake tells the connection that its source has frames. It does not block.
func (c *Conn) Wake() { c.w.wake() }

// deadError is a peer that stopped answering.
type deadError struct{ silent time.Duration }

// Error says for how long the peer was silent.
func (e *deadError) Error() string {
	return fmt.Sprintf("the peer is gone: silent for %s, heartbeats included", e.silent.Round(time.Second))
}
