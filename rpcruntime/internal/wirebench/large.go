// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"sync"
	"time"

	"github.com/fairlead/fairlead/rpcruntime"
)

const (
	largeMessage = 16 << 20
	hugeMessage  = 64 << 20
	// largeShare is how much of one core a stream of large messages may use.
	largeShare  = 0.25
	largeRounds = 5
	// largeTime is how long a round takes, and smallPerSecond what runs beside it.
	largeTime      = 2500 * time.Millisecond
	smallPerSecond = 500
)

// lane sends one large message, or asks for one, and returns when it is there.
type lane func(ctx context.Context) error

// largeBench has the client whose small calls are measured.
type largeBench struct {
	server *process
	client *rpcruntime.Client
	plain  net.Conn
	bytes  []byte
	reply  []byte
}

func measureLarge(ctx context.Context, out *report) (err error) {
	server, address, plain, err := startServer(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, server.end()) }()
	rt, err := rpcruntime.New(rpcruntime.WithoutRegistry(), rpcruntime.WithWireLimits(raised))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, rt.Close(ctx)) }()
	var d net.Dialer
	nc, err := d.DialContext(ctx, "tcp", plain)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, nc.Close()) }()
	b := &largeBench{
		server: server, plain: nc, bytes: make([]byte, hugeMessage), reply: make([]byte, 0, hugeMessage),
		client: rt.NewClient("bench", rpcruntime.Endpoints(address), once(20*time.Second)),
	}
	if err := b.compare(ctx, out, "large", b.take(largeMessage), b.plainMessage(largeMessage, 1)); err != nil {
		return err
	}
	if err := b.compare(ctx, out, "large_reply", b.give(largeMessage), b.plainMessage(1, largeMessage)); err != nil {
		return err
	}
	if err := b.alone(ctx, out, "large_64MiB_ms", b.take(hugeMessage)); err != nil {
		return err
	}
	return b.alone(ctx, out, "large_64MiB_reply_ms", b.give(hugeMessage))
}

func (b *largeBench) take(n int) lane {
	return func(ctx context.Context) error {
		got, err := rpcruntime.Call[[]byte](ctx, b.client, "Bulk.Take", b.bytes[:n])
		if err != nil {
			return err
		}
		if len(*got) != 8 || binary.BigEndian.Uint64(*got) != uint64(n) {
			return fmt.Errorf("the server got %x bytes", *got)
		}
		return nil
	}
}

func (b *largeBench) give(n int) lane {
	return func(ctx context.Context) error {
		err := rpcruntime.CallInto(ctx, b.client, "Bulk.Give", []byte(strconv.Itoa(n)), &b.reply)
		if err == nil && len(b.reply) != n {
			err = fmt.Errorf("%d bytes came", len(b.reply))
		}
		return err
	}
}

// plainMessage sends bytes and reads bytes on the plain connection.
func (b *largeBench) plainMessage(up, down int) lane {
	buf := make([]byte, 64<<10)
	return func(context.Context) error {
		head := binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(nil, uint64(up)), uint64(down))
		if _, err := b.plain.Write(head); err != nil {
			return err
		}
		if _, err := b.plain.Write(b.bytes[:up]); err != nil {
			return err
		}
		_, err := io.CopyBuffer(io.Discard, onlyReader{io.LimitReader(b.plain, int64(down))}, buf)
		return err
	}
}

// onlyReader hides what else a reader can do, so that the buffer is used.
type onlyReader struct{ io.Reader }

// compare prints the small calls' p99s beside a stream of ours and beside a
// stream on the plain connection, and what one is over the other.
func (b *largeBench) compare(ctx context.Context, out *report, name string, ours, plain lane) error {
	cost, err := b.cost(ctx, ours)
	if err != nil {
		return err
	}
	every := time.Duration(float64(cost) / largeShare)
	var beside, besidePlain []time.Duration
	for range largeRounds {
		p99, err := b.round(ctx, ours, every)
		if err != nil {
			return err
		}
		beside = append(beside, p99)
		if p99, err = b.round(ctx, plain, every); err != nil {
			return err
		}
		besidePlain = append(besidePlain, p99)
	}
	quiet, err := b.round(ctx, nil, every)
	if err != nil {
		return err
	}
	out.add(name+"_p99_ratio", float64(median(beside))/float64(median(besidePlain)), "5")
	out.add(name+"_p99_ms", millis(median(beside)), goalNone)
	out.add(name+"_plain_p99_ms", millis(median(besidePlain)), goalNone)
	out.add(name+"_quiet_p99_ms", millis(quiet), goalNone)
	out.add(name+"_cpu_ms_per_message", millis(cost), goalNone)
	return nil
}

// cost is the CPU time that both processes spend on a message.
func (b *largeBench) cost(ctx context.Context, send lane) (time.Duration, error) {
	const messages = 12
	for range 3 { // connections, buffers
		if err := send(ctx); err != nil {
			return 0, err
		}
	}
	before, err := b.cpu()
	if err != nil {
		return 0, err
	}
	for range messages {
		if err := send(ctx); err != nil {
			return 0, err
		}
	}
	after, err := b.cpu()
	return (after - before) / messages, err
}

// cpu is what both processes have used.
func (b *largeBench) cpu() (time.Duration, error) {
	mine, err := cpuUsed()
	if err != nil {
		return 0, err
	}
	theirs, err := b.server.numbers("cpu", "cpu")
	if err != nil {
		return 0, err
	}
	if len(theirs) != 1 {
		return 0, fmt.Errorf("the server said %v", theirs)
	}
	return mine + time.Duration(theirs[0]), nil
}

// round sends messages every so often, or none, and returns the p99 of the small
// calls beside them.
func (b *largeBench) round(ctx context.Context, send lane, every time.Duration) (time.Duration, error) {
	during, cancel := context.WithTimeout(ctx, largeTime)
	defer cancel()
	var stream sync.WaitGroup
	var streamErr error
	if send != nil {
		stream.Go(func() {
			began := time.Now()
			for n := 0; wait(during, began.Add(time.Duration(n)*every)) && streamErr == nil; n++ {
				streamErr = send(ctx)
			}
		})
	}
	var mu sync.Mutex
	var all []time.Duration
	var failed error
	small := make([]byte, 100)
	openLoop(during, smallPerSecond, func(due time.Time) {
		_, err := rpcruntime.Call[[]byte](ctx, b.client, "Bench.Echo", small)
		took := time.Since(due)
		mu.Lock()
		defer mu.Unlock()
		if err != nil {
			failed = err
			return
		}
		all = append(all, took)
	})
	stream.Wait()
	return percentile(all, 0.99), errors.Join(streamErr, failed)
}

// alone prints the median time of some messages with nothing beside them.
func (b *largeBench) alone(ctx context.Context, out *report, name string, send lane) error {
	var all []time.Duration
	for range largeRounds {
		began := time.Now()
		if err := send(ctx); err != nil {
			return err
		}
		all = append(all, time.Since(began))
	}
	out.add(name, millis(median(all)), goalNone)
	return nil
}
