// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package peer

import (
	"bytes"
	"context"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/fairlead/fairlead/bench/internal/order"
)

// served starts a peer's server and a client of it, for as long as the test runs.
func served(t *testing.T, p Peer, conns int) Client {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- p.Serve(ctx, ln, "") }()
	t.Cleanup(func() {
		stop()
		select {
		case err := <-ended:
			if err != nil {
				t.Errorf("Serve: %v", err)
			}
		case <-time.After(10 * time.Second):
			t.Error("Serve does not end with its context")
		}
	})
	client, err := p.Dial(ctx, Setup{Address: ln.Addr().String(), Conns: conns})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := client.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return client
}

func TestEveryPeerEchoes(t *testing.T) {
	for _, p := range All() {
		for _, conns := range []int{1, 2} {
			t.Run(p.Name, func(t *testing.T) {
				t.Parallel()
				client := served(t, p, conns)
				var callers sync.WaitGroup
				defer callers.Wait()
				for i := range 4 {
					callers.Go(func() { echoes(t, client, uint64(i)) })
				}
			})
		}
	}
}

func echoes(t *testing.T, client Client, seed uint64) {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	c, err := client.Caller()
	if err != nil {
		t.Error(err)
		return
	}
	defer c.Close()
	var got []byte
	for i := range uint64(5) {
		for _, h := range []Handler{Immediate, Yield, Sleep} {
			req := order.New()
			req.Stamp = seed<<32 | i
			reply, err := c.Order(ctx, h, req)
			if err == nil {
				err = order.Check(req, reply, true)
			}
			if err != nil {
				t.Errorf("order, %v: %v", h, err)
				return
			}
			for _, size := range []int{order.Bytes, 64 << 10} {
				sent := bytes.Repeat([]byte{byte(seed), byte(i), byte(size)}, size)[:size]
				got, err = c.Bytes(ctx, h, sent, got)
				if err != nil || !bytes.Equal(got, sent) {
					t.Errorf("%d bytes, %v: got %d, which are others or not all: %v", size, h, len(got), err)
					return
				}
			}
		}
	}
}

func TestHandlersHaveNames(t *testing.T) {
	for h := range handlers {
		if got, err := ParseHandler(h.String()); err != nil || got != h {
			t.Errorf("ParseHandler(%q) = %v, %v", h, got, err)
		}
	}
	if _, err := ParseHandler("quick"); err == nil {
		t.Error("ParseHandler takes any name")
	}
}
