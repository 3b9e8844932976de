// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package child

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/fairlead/fairlead/bench/internal/peer"
)

// talk runs what a child is with pipes in place of its standard files.
type talk struct {
	t     *testing.T
	in    *io.PipeWriter
	out   *bufio.Scanner
	ended chan error
}

func converse(t *testing.T, be func(in io.Reader, out io.Writer) error) *talk {
	t.Helper()
	inRead, inWrite := io.Pipe()
	outRead, outWrite := io.Pipe()
	c := &talk{t: t, in: inWrite, out: bufio.NewScanner(outRead), ended: make(chan error, 1)}
	go func() {
		err := be(inRead, outWrite)
		_ = outWrite.Close()
		c.ended <- err
	}()
	t.Cleanup(func() {
		_ = inWrite.Close()
		select {
		case err := <-c.ended:
			if err != nil {
				t.Errorf("the child ended with: %v", err)
			}
		case <-time.After(10 * time.Second):
			t.Error("the child does not end with its input")
		}
	})
	return c
}

func (c *talk) hear() Answer {
	c.t.Helper()
	if !c.out.Scan() {
		c.t.Fatal("the child says nothing any more")
	}
	var a Answer
	if err := json.Unmarshal(c.out.Bytes(), &a); err != nil {
		c.t.Fatal(err)
	}
	return a
}

func (c *talk) ask(a Ask) Answer {
	c.t.Helper()
	if err := json.NewEncoder(c.in).Encode(a); err != nil {
		c.t.Fatal(err)
	}
	return c.hear()
}

func TestServerAndClient(t *testing.T) {
	p, err := peer.Find("framed")
	if err != nil {
		t.Fatal(err)
	}
	server := converse(t, func(in io.Reader, out io.Writer) error { return Serve(context.Background(), p, "", in, out) })
	address := server.hear().Address
	client := converse(t, func(in io.Reader, out io.Writer) error {
		return Call(context.Background(), p, peer.Setup{Address: address}, in, out)
	})
	client.hear()

	before := server.ask(Ask{Op: Settle})
	for _, ask := range []Ask{
		{Op: Closed, Callers: 2, Conns: 2, Duration: 20 * time.Millisecond},
		{Op: Closed, Callers: 2, Bytes: 581, Handler: "yield", Duration: 20 * time.Millisecond},
		{Op: Open, Rate: 1000, Duration: 20 * time.Millisecond},
	} {
		a := client.ask(ask)
		if a.Problem != "" || a.Calls == 0 || a.Errors != 0 || a.P50 <= 0 || a.P999 < a.P50 || a.Max < a.P999 {
			t.Errorf("%+v was answered with %+v", ask, a)
		}
	}
	after := server.ask(Ask{Op: Look})
	if spent := after.Used.Since(before.Used); spent.Mallocs <= 0 || spent.Bytes <= 0 || spent.CPU < 0 {
		t.Errorf("the server says that it spent %+v", spent)
	}

	for name, a := range map[string]Answer{
		"a server":          server.ask(Ask{Op: Closed}),
		"an op":             client.ask(Ask{Op: "dance", Duration: time.Second}),
		"a handler":         client.ask(Ask{Op: Closed, Handler: "quick", Duration: time.Second}),
		"an open loop's 0s": client.ask(Ask{Op: Open}),
	} {
		if a.Problem == "" {
			t.Errorf("%s: no problem was told: %+v", name, a)
		}
	}
}

func TestRegistryLine(t *testing.T) {
	address, err := awaitLine(strings.NewReader("fairlead: serving\nFAIRLEAD_REGISTRY=127.0.0.1:7443\n"))
	if err != nil || address != "127.0.0.1:7443" {
		t.Errorf("awaitLine = %q, %v", address, err)
	}
	if _, err := awaitLine(strings.NewReader("fairlead: no such folder\n")); err == nil {
		t.Error("awaitLine finds an address where there is none")
	}
}
