// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/fairlead/fairlead/examples/arith"
	"github.com/fairlead/fairlead/rpcruntime"
	"github.com/fairlead/fairlead/rpcruntime/status"
)

// hold is how long each call takes, so that there are some under way when a
// server ends.
const hold = 5 * time.Millisecond

// serve is an arith server that signs its answers. As any program should, it
// drains at SIGTERM and needs no preStop hook.
func serve(ctx context.Context, address, listen, ledger string) error {
	pod, err := os.Hostname()
	if err != nil {
		return err
	}
	rt, err := newRuntime()
	if err != nil {
		return err
	}
	book := &bookkeeper{url: ledger, client: &http.Client{Timeout: 2 * time.Second}}
	srv := rt.NewServer(rpcruntime.ServerIntercept(signing(pod, book)))
	arith.Register(srv)
	var lc net.ListenConfig
	ln, err := lc.Listen(ctx, "tcp", listen)
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/readyz", ok)
	mux.HandleFunc("POST /kill", kill)
	end, err := web(ctx, address, mux)
	if err != nil {
		return err
	}
	err = srv.Serve(ctx, ln)
	return errors.Join(err, rt.Close(context.WithoutCancel(ctx)), end())
}

func signing(pod string, book *bookkeeper) rpcruntime.ServerInterceptor {
	return func(next rpcruntime.ServerInvoker) rpcruntime.ServerInvoker {
		return func(ctx context.Context, call *rpcruntime.ServerCall) (any, error) {
			rpcruntime.SetReplyMetadata(ctx, metaPod, pod)
			if deadline, ok := ctx.Deadline(); ok {
				rpcruntime.SetReplyMetadata(ctx, metaLeft, strconv.FormatInt(time.Until(deadline).Milliseconds(), 10))
			}
			if call.Method == arith.Add {
				if err := book.note(ctx, call.Metadata[metaID]); err != nil {
					return nil, call.Refuse(status.Errorf(status.Internal, "the ledger cannot be written: %w", err))
				}
			}
			timer := time.NewTimer(hold)
			defer timer.Stop()
			select {
			case <-timer.C:
			case <-ctx.Done():
			}
			return next(ctx, call)
		}
	}
}

// bookkeeper writes into the ledger.
type bookkeeper struct {
	url    string
	client *http.Client
}

// note writes down that the call is about to run. Without a ledger nothing is
// noted.
func (b *bookkeeper) note(ctx context.Context, id string) error {
	if b.url == "" {
		return nil
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, b.url+"/note", strings.NewReader(id))
	if err != nil {
		return err
	}
	resp, err := b.client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("it answers %s", resp.Status)
	}
	return nil
}
