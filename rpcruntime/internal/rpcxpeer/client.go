// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package rpcxpeer

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"
)

// ServiceError is what a callee answered with status 1.
type ServiceError string

// Error is the callee's text.
func (e ServiceError) Error() string { return string(e) }

// ErrShutdown is the error of calls on a connection that is closed.
var ErrShutdown = errors.New("connection is shut down")

// ClientConfig sets up a Client. The zero value sends raw payloads, uncompressed,
// and no heartbeats.
type ClientConfig struct {
	// Serialize is the serialize type of arguments. rpcx's own default is MsgPack.
	Serialize byte
	// Compress is used for arguments above 1,024 bytes.
	Compress byte
	// Pushes takes what the callee sends unasked; nil drops it. What finds it
	// full is dropped, unless BlockOnPush is set: then nothing else is read.
	Pushes      chan<- *Message
	BlockOnPush bool
	// Heartbeat is the interval of heartbeats; 0 sends none. HeartbeatWait is how
	// long one may take; 0 is 30 s.
	Heartbeat, HeartbeatWait time.Duration
}

// Client is the caller's side of one connection.
type Client struct {
	nc  net.Conn
	cfg ClientConfig
	all sync.WaitGroup
	// down is closed when the connection is over.
	down chan struct{}

	mu  sync.Mutex // guards what follows
	seq uint64
	// pending are the calls that wait for an answer.
	pending map[uint64]chan outcome
	closed  bool
}

type outcome struct {
	answer *Message
	err    error
}

// Dial connects to a server by TCP.
func Dial(ctx context.Context, address string, cfg ClientConfig) (*Client, error) {
	d := net.Dialer{Timeout: time.Second}
	nc, err := d.DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	return NewClient(nc, cfg), nil
}

// NewClient makes nc, which it owns, a connection to a server.
func NewClient(nc net.Conn, cfg ClientConfig) *Client {
	if cfg.HeartbeatWait == 0 {
		cfg.HeartbeatWait = 30 * time.Second
	}
	c := &Client{nc: nc, cfg: cfg, down: make(chan struct{}), pending: map[uint64]chan outcome{}}
	c.all.Go(c.read)
	if cfg.Heartbeat > 0 {
		c.all.Go(c.beat)
	}
	return c
}

// Down is closed when the connection is over.
func (c *Client) Down() <-chan struct{} { return c.down }

// Close closes the connection; calls under way fail.
func (c *Client) Close() {
	c.shut(ErrShutdown)
	c.all.Wait()
}

// Call calls a method and returns the payload of the answer, which may come
// beside an error too.
func (c *Client) Call(ctx context.Context, path, method string, args []byte) ([]byte, error) {
	m := c.request(ctx, path, method, args)
	answer, err := c.exchange(ctx, m)
	if err != nil {
		return nil, err
	}
	if response := ResponseMeta(ctx); response != nil && len(answer.Meta) > 0 {
		for k, v := range answer.Meta {
			response[k] = v
		}
		response[KeyServerAddress] = c.nc.RemoteAddr().String()
	}
	if answer.Failed && len(answer.Meta) > 0 { // without metadata it counts as a success
		return answer.Payload, ServiceError(answer.Meta[KeyError])
	}
	return answer.Payload, nil
}

// Oneway sends a call that has no answer, and returns once it is written.
func (c *Client) Oneway(ctx context.Context, path, method string, args []byte) error {
	m := c.request(ctx, path, method, args)
	m.Oneway = true
	return c.send(m, nil)
}

// Heartbeat sends one, and checks the answer. If none comes before ctx ends the
// connection is closed.
func (c *Client) Heartbeat(ctx context.Context) error {
	now := []byte{0xd3} // MsgPack's 64-bit integer
	now = binary.BigEndian.AppendUint64(now, uint64(time.Now().UnixNano()))
	m := &Message{Heartbeat: true, Serialize: SerializeMsgPack, Meta: RequestMeta(ctx), Payload: now}
	answer, err := c.exchange(ctx, m)
	if err == nil && answer.Failed {
		err = ServiceError(answer.Meta[KeyError])
	}
	if err != nil {
		c.shut(err)
		return err
	}
	if string(answer.Payload) != string(now) {
		return fmt.Errorf("rpcxpeer: the heartbeat's answer has %x, want %x", answer.Payload, now)
	}
	return nil
}

func (c *Client) request(ctx context.Context, path, method string, args []byte) *Message {
	m := &Message{Serialize: c.cfg.Serialize, Path: path, Method: method, Meta: RequestMeta(ctx), Payload: args}
	if len(args) > compressAbove {
		m.Compress = c.cfg.Compress
	}
	return m
}

// exchange sends m and waits for its answer.
func (c *Client) exchange(ctx context.Context, m *Message) (*Message, error) {
	done := make(chan outcome, 1) // one outcome each, so that nobody waits to deliver it
	if err := c.send(m, done); err != nil {
		return nil, err
	}
	select {
	case o := <-done:
		return o.answer, o.err
	case <-ctx.Done():
		c.claim(m.Seq)
		return nil, ctx.Err()
	}
}

// send gives m its seq, enters done for the answer if there will be one, and
// writes. Two that send at once may be written in any order.
func (c *Client) send(m *Message, done chan outcome) error {
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return ErrShutdown
	}
	m.Seq = c.seq
	c.seq++
	if done != nil {
		c.pending[m.Seq] = done
	}
	c.mu.Unlock()
	if _, err := c.nc.Write(m.Encode()); err != nil {
		c.claim(m.Seq)
		return err
	}
	return nil
}

// claim takes a call out of the pending ones: whoever gets it ends it.
func (c *Client) claim(seq uint64) chan outcome {
	c.mu.Lock()
	defer c.mu.Unlock()
	done := c.pending[seq]
	delete(c.pending, seq)
	return done
}

func (c *Client) read() {
	for {
		m, err := Read(c.nc)
		switch {
		case err != nil:
			if errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			c.shut(err)
			return
		case !m.Response && !m.Heartbeat && m.Oneway:
			c.pushed(m)
		default:
			if done := c.claim(m.Seq); done != nil {
				done <- outcome{answer: m}
			}
		}
	}
}

func (c *Client) pushed(m *Message) {
	if c.cfg.Pushes == nil {
		return
	}
	if c.cfg.BlockOnPush {
		select {
		case c.cfg.Pushes <- m:
		case <-c.down:
		}
		return
	}
	select {
	case c.cfg.Pushes <- m:
	default:
	}
}

// shut ends the connection and all calls on it. The first reason counts.
func (c *Client) shut(reason error) {
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return
	}
	c.closed = true
	pending := c.pending
	c.pending = map[uint64]chan outcome{}
	c.mu.Unlock()
	_ = c.nc.Close() // its reason is what counts
	close(c.down)
	for _, done := range pending {
		done <- outcome{err: reason}
	}
}

func (c *Client) beat() {
	tick := time.NewTicker(c.cfg.Heartbeat)
	defer tick.Stop()
	for {
		select {
		case <-c.down:
			return
		case <-tick.C:
			ctx, cancel := context.WithTimeout(context.Background(), c.cfg.HeartbeatWait)
			_ = c.Heartbeat(ctx) // it has closed the connection
			cancel()
		}
	}
}
