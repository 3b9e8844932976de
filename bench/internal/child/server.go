// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package child

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"runtime"

	"github.com/fairlead/fairlead/bench/internal/load"
	"github.com/fairlead/fairlead/bench/internal/peer"
)

// Serve is a peer's server on a free port of the loopback, until in ends.
func Serve(ctx context.Context, p peer.Peer, registry string, in io.Reader, out io.Writer) error {
	var config net.ListenConfig
	ln, err := config.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	ended := make(chan error, 1)
	go func() {
		err := p.Serve(ctx, ln, registry)
		if err == nil && ctx.Err() == nil {
			err = errors.New("the server ended by itself")
		}
		ended <- err
	}()
	if err := json.NewEncoder(out).Encode(Answer{Address: ln.Addr().String()}); err != nil {
		return err
	}
	err = answerAll(in, out, func(ask Ask) (Answer, error) {
		select {
		case err := <-ended:
			ended <- err
			return Answer{}, fmt.Errorf("it does not serve any more: %w", err)
		default:
		}
		return look(ask)
	})
	stop()
	return errors.Join(err, <-ended)
}

func look(ask Ask) (Answer, error) {
	switch ask.Op {
	case Settle:
		runtime.GC()
	case Look:
	default:
		return Answer{}, fmt.Errorf("a server cannot %q", ask.Op)
	}
	used, err := load.Used()
	return Answer{Used: used}, err
}
