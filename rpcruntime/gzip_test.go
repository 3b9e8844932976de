// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package rpcruntime

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/fairlead/fairlead/rpcruntime/codec"
	"github.com/fairlead/fairlead/rpcruntime/status"
	"github.com/fairlead/fairlead/rpcruntime/wire"
)

// zip and unzip are the standard library's, not ours.
func zip(t testing.TB, s string) string {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if _, err := io.WriteString(w, s); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func unzip(t testing.TB, b []byte) string {
	t.Helper()
	r, err := gzip.NewReader(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	plain, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return string(plain)
}

func zippedHeader(seq uint64) wire.Header {
	return wire.RequestHeader(seq, wire.SerializeRaw, false).WithCompress(wire.CompressGzip)
}

// docs/wire-protocol.md §2
func TestGzipFollowsTheRequest(t *testing.T) {
	addr, srv := serveWith(t, newRuntime(t), func(s *Server) {
		echoServer(s)
		HandleRaw(s, "Raw.Fail", func(context.Context, []byte) ([]byte, error) {
			return nil, status.New(status.NotFound, strings.Repeat("e", 2000))
		})
	})
	small, large := strings.Repeat("s", codec.CompressAbove), strings.Repeat("l", codec.CompressAbove+1)
	for name, tc := range map[string]struct {
		header         wire.Header
		method         string
		sent, received string
		compress       wire.Compress
	}{
		"a large reply to a compressed request":   {zippedHeader(1), "Echo", zip(t, large), large, wire.CompressGzip},
		"a small reply to a compressed request":   {zippedHeader(2), "Echo", zip(t, small), small, wire.CompressNone},
		"a large reply to an uncompressed one":    {wire.RequestHeader(3, wire.SerializeRaw, false), "Echo", large, large, wire.CompressNone},
		"a very large reply, sent by reference":   {zippedHeader(4), "Echo", zip(t, strings.Repeat("v", 1<<20)), strings.Repeat("v", 1<<20), wire.CompressGzip},
		"a request of two members":                {zippedHeader(5), "Echo", zip(t, "one") + zip(t, "two"), "onetwo", wire.CompressNone},
		"an error, which is never compressed":     {zippedHeader(6), "Fail", zip(t, large), "", wire.CompressNone},
		"a compressed request that holds nothing": {zippedHeader(7), "Echo", zip(t, ""), "", wire.CompressNone},
	} {
		t.Run(name, func(t *testing.T) {
			p := dialRaw(t, addr)
			p.send(requestBytes(tc.header, "Raw", tc.method, tc.sent))
			f := p.frame()
			got := string(f.Payload)
			if f.Compress() == wire.CompressGzip {
				got = unzip(t, f.Payload)
			}
			if f.Compress() != tc.compress || got != tc.received {
				t.Errorf("compress type %d, %d bytes", f.Compress(), len(got))
			}
		})
	}
	r := srv.Do(t.Context(), &ForeignCall{Path: "Raw", Method: "Echo", Compress: codec.CompressGzip, Payload: []byte(zip(t, large))})
	if r.Err != nil || r.Compress != codec.CompressGzip || unzip(t, r.Payload) != large {
		t.Errorf("by another way: %+v", r.Err)
	}
	until(t, "no bytes are left", func() bool { return srv.Stats().RequestBytes == 0 })
}

// docs/wire-protocol.md §4
func TestHostileGzip(t *testing.T) {
	var ran atomic.Int32
	addr, srv := serveWith(t, newRuntime(t, WithWireLimits(wire.Limits{DecompressedBytes: 64 << 10})), func(s *Server) {
		HandleRaw(s, "Raw.Echo", func(_ context.Context, b []byte) ([]byte, error) {
			ran.Add(1)
			return b, nil
		})
	}, MaxRequestBytes(48<<10))
	p := dialRaw(t, addr)
	announcement := wire.AppendAnnouncement(nil, wire.Announcement{Seq: 1, Features: []string{wire.FeatureDrain}})
	p.send(requestBytes(wire.RequestHeader(1, wire.SerializeRaw, false), "Raw", "Nope", "", wire.KeyAnnounce, string(announcement)))
	good := zip(t, strings.Repeat("x", 100))
	for i, tc := range []struct{ name, payload, code, mark string }{
		{"a bomb", zip(t, strings.Repeat("\x00", 1<<20)), "8", "unexecuted;reason=limit"},
		{"one byte over the limit", zip(t, strings.Repeat("\x00", 64<<10+1)), "8", "unexecuted;reason=limit"},
		{"no gzip", "plain", "3", "unexecuted"},
		{"nothing", "", "3", "unexecuted"},
		{"cut", good[:len(good)-3], "3", "unexecuted"},
		{"wrong sum", good[:len(good)-8] + "\x00\x00\x00\x00" + good[len(good)-4:], "3", "unexecuted"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			seq := uint64(i + 10)
			p.send(requestBytes(zippedHeader(seq), "Raw", "Echo", tc.payload))
			for {
				f := p.frame()
				if f.Seq != seq || !f.Response() {
					continue
				}
				code, _ := f.Meta.Get(wire.KeyCode)
				mark, _ := f.Meta.Get(wire.KeyRetry)
				if string(code) != tc.code || string(mark) != tc.mark {
					t.Errorf("code %s, mark %q", code, mark)
				}
				break
			}
		})
	}
	// An unknown compressor is refused by the reader.
	h := wire.RequestHeader(50, wire.SerializeRaw, false).WithCompress(5)
	p.send(requestBytes(h, "Raw", "Echo", "x"))
	for f := p.frame(); f.Seq != 50; f = p.frame() {
	}
	if ran.Load() != 0 {
		t.Error("a handler ran")
	}
	p.send(requestBytes(zippedHeader(60), "Raw", "Echo", good))
	if f := p.frame(); f.Seq != 60 || f.Status() != wire.StatusNormal {
		t.Error("the connection is not what it was")
	}
	until(t, "no bytes are left", func() bool { return srv.Stats().RequestBytes == 0 && srv.Stats().Calls == 0 })
}

// What was decompressed counts against the server's bound while it is held.
func TestGzipCountsWhatItHolds(t *testing.T) {
	hold, held := make(chan struct{}), make(chan struct{})
	set, err := codec.New().With(9, waitingCodec{held, hold})
	if err != nil {
		t.Fatal(err)
	}
	addr, srv := serveWith(t, newRuntime(t, WithCodecs(set)), func(s *Server) {
		Handle(s, "Any.Echo", func(_ context.Context, s *string) (*string, error) { return s, nil })
		echoServer(s)
	}, MaxRequestBytes(64<<10))
	serving(t, srv)
	p := dialRaw(t, addr)
	p.send(requestBytes(wire.RequestHeader(1, 9, false).WithCompress(wire.CompressGzip), "Any", "Echo", zip(t, strings.Repeat("z", 40<<10))))
	receive(t, held, "the decoding")
	if n := srv.Stats().RequestBytes; n < 40<<10 {
		t.Errorf("%d bytes are counted", n)
	}
	r := srv.Do(t.Context(), &ForeignCall{Path: "Raw", Method: "Echo", Compress: codec.CompressGzip, Payload: []byte(zip(t, strings.Repeat("z", 40<<10)))})
	wantFate(t, r.Err, status.ResourceExhausted, status.FateUnexecuted)
	close(hold)
	p.frame()
	until(t, "no bytes are left", func() bool { return srv.Stats().RequestBytes == 0 })
}

// waitingCodec decodes when it may.
type waitingCodec struct{ held, hold chan struct{} }

func (c waitingCodec) Append(dst []byte, _ any) ([]byte, error) { return dst, nil }
func (c waitingCodec) Decode([]byte, any) error {
	c.held <- struct{}{}
	<-c.hold
	return nil
}

// In rpcx a pooled buffer was lent again while its bytes were still being sent:
// 36 of 32,000 frames were broken.
func TestGzipFramesAreNotMixedUp(t *testing.T) {
	addr, _ := serveWith(t, newRuntime(t), echoServer)
	const callers, each = 8, 100
	var wg sync.WaitGroup
	p := dialRaw(t, addr)                           // all on one connection
	_ = p.SetDeadline(time.Now().Add(5 * patience)) // gzip is slow under the race detector
	var writing sync.Mutex
	for c := range callers {
		wg.Go(func() {
			var z bytes.Buffer
			w := gzip.NewWriter(&z) // one for all: it is large
			for i := range each {
				z.Reset()
				w.Reset(&z)
				_, err := io.WriteString(w, fill(uint64(c*each+i)))
				if err = errors.Join(err, w.Close()); err != nil {
					t.Error(err)
					return
				}
				frame := requestBytes(zippedHeader(uint64(c*each+i)), "Raw", "Echo", z.String())
				writing.Lock()
				_, err = p.Write(frame)
				writing.Unlock()
				if err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	r := new(gzip.Reader)
	for range callers * each {
		f := p.frame()
		if f.Compress() != wire.CompressGzip {
			t.Fatal("an answer is not compressed")
		}
		if err := r.Reset(bytes.NewReader(f.Payload)); err != nil {
			t.Fatal(err)
		}
		if plain, err := io.ReadAll(r); err != nil || string(plain) != fill(f.Seq) {
			t.Fatalf("the answer to %d is another's", f.Seq)
		}
	}
	wg.Wait()
}

// fill makes a payload that says which it is, and does not compress to nothing.
func fill(seq uint64) string {
	var b strings.Builder
	for i := range 20 {
		sum := sha256.Sum256(binary.BigEndian.AppendUint64(nil, seq<<8|uint64(i)))
		fmt.Fprintf(&b, "%x", sum)
	}
	return b.String()
}
