// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package demo

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"sync"
	"time"

	"github.com/fairlead/fairlead/rpcruntime"
	"github.com/fairlead/fairlead/rpcruntime/policy"
)

const (
	// pulseEvery is how often the caller says how it is, and hands over the calls
	// that have ended.
	pulseEvery = 10 * time.Millisecond
	// closing bounds how long the caller's runtime may take to close.
	closing = 3 * time.Second
)

// readOrders passes on what r says. As in any process of the demo, the end of r
// ends the process; a line that is no order does so, too.
func readOrders(r io.Reader, orders chan<- order) {
	for lines := json.NewDecoder(r); ; {
		var o order
		if err := lines.Decode(&o); err != nil {
			os.Exit(1)
		}
		orders <- o
	}
}

// makeCalls is the caller: it does what orders say through the public API, and
// writes to stdout what becomes of it. When ctx ends it stops making calls, waits
// for those under way, and returns.
func makeCalls(ctx context.Context, rate int, cache string, orders <-chan order, stdout, stderr io.Writer) error {
	rt, err := rpcruntime.New(rpcruntime.WithApp("caller"), rpcruntime.WithCacheDir(cache), rpcruntime.WithLogger(textLogger(stderr)))
	if err != nil {
		return err
	}
	out := newReporter(stdout)
	l := &load{client: rt.NewClient(service), record: func(c *endedCall) { out.send(&news{Call: newCallNews(c)}) }, rate: rate}
	loadCtx, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	var under sync.WaitGroup
	pulses := time.NewTicker(pulseEvery)
	defer pulses.Stop()
	for ctx.Err() == nil {
		select {
		case o := <-orders:
			switch {
			case o.Load:
				under.Go(func() { l.run(loadCtx) })
			case o.Probe != "":
				under.Go(func() { out.send(&news{Probe: &probeNews{o.Probe, newErrorNews(l.probe(loadCtx, o.Probe))}}) })
			default:
				l.slowly(loadCtx, o.Slow)
			}
		case <-pulses.C:
			out.send(&news{Pulse: l.pulse()})
			out.flush()
		case <-ctx.Done():
		}
	}
	stop()
	under.Wait()
	out.send(&news{Pulse: l.pulse()})
	out.flush()
	closeCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), closing)
	defer cancel()
	return errors.Join(out.err, rt.Close(closeCtx))
}

// pulse says how the caller is. Servers that were killed may stand among the
// endpoints until their lease has run out; they are not ready.
func (l *load) pulse() *pulse {
	p := &pulse{Digest: "-", Missed: l.missed.Load(), Late: l.late.Swap(0)}
	snapshot := l.client.Snapshot()
	if snapshot == nil {
		return p
	}
	p.Digest = snapshot.Digest.Short()
	for i := range snapshot.Endpoints {
		if snapshot.Endpoints[i].State == policy.Ready {
			p.Ready++
		}
	}
	return p
}

// reporter writes news. send is safe for concurrent use.
type reporter struct {
	mu    sync.Mutex
	buf   *bufio.Writer
	lines *json.Encoder
	err   error // the first
}

func newReporter(w io.Writer) *reporter {
	buf := bufio.NewWriter(w)
	return &reporter{buf: buf, lines: json.NewEncoder(buf)}
}

func (r *reporter) send(n *news) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.lines.Encode(n); err != nil && r.err == nil {
		r.err = err
	}
}

func (r *reporter) flush() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.buf.Flush(); err != nil && r.err == nil {
		r.err = err
	}
}
