// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package transport

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/fairlead/fairlead/rpcruntime/wire"
)

// inline answers on the reader, so that what is measured is the transport.
type inline struct{}

func (inline) Announced(*ServerConn, *wire.Announcement) {}
func (inline) Closed(*ServerConn, error)                 {}
func (inline) Request(in *Inbound) {
	in.Keep()
	go in.Respond(nil, in.Payload, wire.CompressNone)
}

func BenchmarkCall(b *testing.B) {
	for _, callers := range []int{1, 100} {
		for _, size := range []int{128, 1 << 20} {
			b.Run(fmt.Sprintf("callers=%d/bytes=%d", callers, size), func(b *testing.B) { benchmarkCall(b, callers, size) })
		}
	}
}

func benchmarkCall(b *testing.B, callers, size int) {
	near, far := tcpPair(b)
	s := NewServer(far, Config{}, inline{}, nil)
	c := NewClient(near, Config{Wheel: newWheel(b)}, wire.Announcement{}, newCaller())
	defer s.Close()
	defer c.Close()
	payload := make([]byte, size)
	b.ReportAllocs()
	b.SetBytes(int64(2 * size))
	b.ResetTimer()
	var all sync.WaitGroup
	for i := range callers {
		all.Go(func() {
			for range (b.N + i) / callers {
				res, err := c.Do(context.Background(), time.Now().Add(time.Minute), &Request{Path: "Test", Method: "Echo", Payload: payload})
				if err != nil {
					b.Error(err)
					return
				}
				res.Release()
			}
		})
	}
	all.Wait()
	b.StopTimer()
}
