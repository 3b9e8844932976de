// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"os"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/fairlead/fairlead/rpcruntime"
	"github.com/fairlead/fairlead/rpcruntime/wire"
)

// raised are limits that let messages of 64 MiB pass.
var raised = wire.Limits{FrameBytes: 80 << 20} // constant

// maxGive is the most that a call of Bulk.Give returns.
const maxGive = 64 << 20

// workTime is how long a call of Bench.Work takes.
const workTime = 2 * time.Millisecond

// bench has the handlers of a server, and what they note.
type bench struct {
	runs atomic.Int64
	mu   sync.Mutex
	held map[uint64]*heldCall
	give func() []byte // made when first asked for: the heap is to be that of an ordinary server until then
}

// heldCall is a call of Bench.Hold.
type heldCall struct {
	began, ended chan struct{} // closed by the handler
	endedAt      int64         // Unix time in nanoseconds; set before ended is closed
}

func (b *bench) call(payload []byte) (*heldCall, error) {
	if len(payload) != 8 {
		return nil, errors.New("want a number of 8 bytes")
	}
	id := binary.BigEndian.Uint64(payload)
	b.mu.Lock()
	defer b.mu.Unlock()
	h := b.held[id]
	if h == nil {
		h = &heldCall{began: make(chan struct{}), ended: make(chan struct{})}
		b.held[id] = h
	}
	return h, nil
}

func (b *bench) register(srv *rpcruntime.Server) {
	rpcruntime.HandleRaw(srv, "Bench.Echo", func(_ context.Context, p []byte) ([]byte, error) { return p, nil })
	rpcruntime.HandleRaw(srv, "Bench.Work", func(ctx context.Context, p []byte) ([]byte, error) {
		b.runs.Add(1)
		wait(ctx, time.Now().Add(workTime))
		return p, nil
	})
	rpcruntime.HandleRaw(srv, "Bench.Hold", b.hold)
	rpcruntime.HandleRaw(srv, "Bench.Began", func(ctx context.Context, p []byte) ([]byte, error) {
		h, err := b.call(p)
		if err != nil {
			return nil, err
		}
		return []byte{}, reached(ctx, h.began)
	})
	rpcruntime.HandleRaw(srv, "Bench.Ended", func(ctx context.Context, p []byte) ([]byte, error) {
		h, err := b.call(p)
		if err != nil {
			return nil, err
		}
		if err := reached(ctx, h.ended); err != nil {
			return nil, err
		}
		return binary.BigEndian.AppendUint64(nil, uint64(h.endedAt)), nil
	})
	rpcruntime.HandleRaw(srv, "Bulk.Take", func(_ context.Context, p []byte) ([]byte, error) {
		return binary.BigEndian.AppendUint64(nil, uint64(len(p))), nil
	})
	rpcruntime.HandleRaw(srv, "Bulk.Give", func(_ context.Context, p []byte) ([]byte, error) {
		n, err := strconv.Atoi(string(p))
		if err != nil || n < 0 || n > maxGive {
			return nil, errors.New("want a number of bytes")
		}
		return b.give()[:n], nil
	})
}

// hold notes when its context ends.
func (b *bench) hold(ctx context.Context, p []byte) ([]byte, error) {
	h, err := b.call(p)
	if err != nil {
		return nil, err
	}
	close(h.began)
	<-ctx.Done()
	h.endedAt = time.Now().UnixNano()
	close(h.ended)
	return nil, ctx.Err()
}

func reached(ctx context.Context, ch <-chan struct{}) error {
	select {
	case <-ch:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// wait waits until then, or until ctx ends, and reports whether it was then.
func wait(ctx context.Context, then time.Time) bool {
	d := time.Until(then)
	if d <= 0 {
		return ctx.Err() == nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// serverTLS makes a server take TLS.
const serverTLS = "tls"

// selfSigned makes a certificate that nobody needs to trust.
func selfSigned() (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return tls.Certificate{}, err
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, nil
}

// beServer serves calls, over TLS if args say so, and bytes on a plain listener,
// until its input ends:
//
//	says   ready RPC-ADDRESS PLAIN-ADDRESS
//	drain  drained NANOSECONDS RUNS, or drained and an error
//	runs   runs RUNS
//	cpu    cpu NANOSECONDS
//	memory memory LIVE RESIDENT CONNECTIONS BYTES-READ
func beServer(ctx context.Context, args []string) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	rt, err := rpcruntime.New(rpcruntime.WithoutRegistry(), rpcruntime.WithWireLimits(raised))
	if err != nil {
		return err
	}
	b := &bench{held: map[uint64]*heldCall{}, give: sync.OnceValue(func() []byte { return make([]byte, maxGive) })}
	var opts []rpcruntime.ServerOption
	if slices.Contains(args, serverTLS) {
		certificate, err := selfSigned()
		if err != nil {
			return err
		}
		opts = append(opts, rpcruntime.ServerTLS(&tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{certificate}}))
	}
	srv := rt.NewServer(opts...)
	b.register(srv)
	var lc net.ListenConfig
	ln, err := lc.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	plain, err := lc.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	var serving sync.WaitGroup
	serving.Go(func() { _ = srv.Serve(ctx, ln) }) // its error is Drain's, too
	serving.Go(func() { servePlain(ctx, plain, &serving) })
	fmt.Println("ready", ln.Addr(), plain.Addr())
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		switch in.Text() {
		case "drain":
			began := time.Now()
			err := srv.Drain(ctx)
			took := time.Since(began)
			if err != nil {
				fmt.Println("cut", err)
				continue
			}
			fmt.Println("drained", took.Nanoseconds(), b.runs.Load())
		case "runs":
			fmt.Println("runs", b.runs.Load())
		case "cpu":
			used, err := cpuUsed()
			if err != nil {
				return err
			}
			fmt.Println("cpu", used.Nanoseconds())
		case "memory":
			m := memoryNow()
			fmt.Println("memory", m.live, m.resident, rt.Counters().Connections.Load(), rt.Counters().BytesRead.Load())
		}
	}
	_ = plain.Close()
	cancel()
	err = rt.Close(context.WithoutCancel(ctx))
	serving.Wait()
	return err
}

// servePlain takes messages, each of them a number of bytes to read, a number of
// bytes to write, and the bytes.
func servePlain(ctx context.Context, ln net.Listener, all *sync.WaitGroup) {
	for {
		nc, err := ln.Accept()
		if err != nil {
			return
		}
		stop := context.AfterFunc(ctx, func() { _ = nc.Close() })
		all.Go(func() {
			defer stop()
			defer func() { _ = nc.Close() }()
			buf, zeros := make([]byte, 64<<10), make([]byte, 16<<20)
			var head [16]byte
			for {
				if _, err := io.ReadFull(nc, head[:]); err != nil {
					return
				}
				for left := binary.BigEndian.Uint64(head[:8]); left > 0; {
					n, err := nc.Read(buf[:min(uint64(len(buf)), left)])
					if err != nil {
						return
					}
					left -= uint64(n)
				}
				if _, err := nc.Write(zeros[:min(binary.BigEndian.Uint64(head[8:]), uint64(len(zeros)))]); err != nil {
					return
				}
			}
		})
	}
}

// startServer starts a child that serves.
func startServer(ctx context.Context, args ...string) (p *process, rpc, plain string, err error) {
	if p, err = spawn(ctx, "server", args...); err != nil {
		return nil, "", "", err
	}
	words, err := p.ask("", "ready")
	if err != nil || len(words) != 2 {
		return nil, "", "", errors.Join(err, p.end(), errors.New("the server did not start"))
	}
	return p, words[0], words[1], nil
}

// numbers asks for a line of numbers.
func (p *process) numbers(line, want string) ([]int64, error) {
	words, err := p.ask(line, want)
	if err != nil {
		return nil, err
	}
	all := make([]int64, 0, len(words))
	for _, w := range words {
		n, err := strconv.ParseInt(w, 10, 64)
		if err != nil {
			return nil, err
		}
		all = append(all, n)
	}
	return all, nil
}
