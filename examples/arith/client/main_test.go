// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"log/slog"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/fairlead/fairlead/examples/arith"
	"github.com/fairlead/fairlead/examples/arith/internal/arithtest"
	"github.com/fairlead/fairlead/rpcruntime"
	"github.com/fairlead/fairlead/rpcruntime/status"
)

func serve(t *testing.T, options ...rpcruntime.ServerOption) string {
	t.Helper()
	rt, err := rpcruntime.New(rpcruntime.WithoutRegistry())
	if err != nil {
		t.Fatal(err)
	}
	srv := rt.NewServer(options...)
	arith.Register(srv)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- srv.Serve(ctx, ln) }()
	t.Cleanup(func() {
		cancel()
		if err := errors.Join(<-done, rt.Close(context.Background())); err != nil {
			t.Error(err)
		}
	})
	return ln.Addr().String()
}

func TestPrintsTheReply(t *testing.T) {
	addr := serve(t)
	tests := []struct{ args, want string }{
		{"--codec json", "Arith.Mul 6 7 = 42\n"},
		{"--codec msgpack", "Arith.Mul 6 7 = 42\n"},
		{"--codec protobuf", "Arith.Mul 6 7 = 42\n"},
		{"--codec raw", "Arith.Echo \"hello\" = \"hello\"\n"},
		{"--codec raw --text ahoy", "Arith.Echo \"ahoy\" = \"ahoy\"\n"},
		{"--method Arith.Add --a 1 --b -1", "Arith.Add 1 -1 = 0\n"},
		{"--method Arith.Sleep --a 1", "Arith.Sleep 1 7 = 1\n"},
	}
	for _, test := range tests {
		var out bytes.Buffer
		args := append([]string{"--addr", addr}, strings.Fields(test.args)...)
		if err := run(t.Context(), args, &out, io.Discard); err != nil || out.String() != test.want {
			t.Errorf("%s: %q, %v; want %q", test.args, out.String(), err, test.want)
		}
	}
}

func TestErrors(t *testing.T) {
	addr := serve(t)
	tests := []struct {
		args string
		want status.Code
	}{
		{"--method Arith.Error", status.FailedPrecondition},
		{"--method Arith.Nope", status.Unimplemented},
		{"--method Arith.Sleep --a 60000 --timeout 20ms", status.DeadlineExceeded},
		{"--method nodot", status.InvalidArgument},
	}
	for _, test := range tests {
		args := append([]string{"--addr", addr}, strings.Fields(test.args)...)
		if err := run(t.Context(), args, io.Discard, io.Discard); status.CodeOf(err) != test.want {
			t.Errorf("%s: %v, want %s", test.args, err, test.want)
		}
	}
}

func TestBadCommandLines(t *testing.T) {
	a := arithtest.NewAuthority(t)
	cert, key := a.Sign(t, "caller")
	for args, want := range map[string]string{
		"--codec xml":                     `"xml" is none of json`,
		"--addr a:1 --service shop/arith": "exclude each other",
		"--nope":                          "nope",
		"extra":                           `"extra" is no flag`,
		"--n 0":                           "--n 0",
		"--push -1":                       "--push -1",
		"--heartbeat 0":                   "--heartbeat must be above 0",
		"--heartbeat -1s":                 "--heartbeat must be above 0",
		"--size 5":                        "--codec raw",
		"--size -5 --codec raw":           "--size",
		"--size 5 --codec raw --text=":    "--size",
		"--tls-cert " + cert:              "--tls-key",
		"--tls-key " + key:                "--tls-cert",
		"--tls-name x":                    "--tls-ca",
		"--tls-ca /no/such/file":          "/no/such/file",
		"--tls-ca " + key:                 "no PEM certificate",
		"--tls-cert " + cert + " --tls-key " + cert: "--tls-key",
	} {
		if err := run(t.Context(), strings.Fields(args), io.Discard, io.Discard); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", args, err, want)
		}
	}
}

// prints runs the program and compares what it prints.
func prints(t *testing.T, want, addr, args string) {
	t.Helper()
	var out bytes.Buffer
	err := run(t.Context(), append([]string{"--addr", addr, "--timeout", "10s"}, strings.Fields(args)...), &out, io.Discard)
	if err != nil || out.String() != want {
		t.Errorf("%s: %q, %v; want %q", args, out.String(), err, want)
	}
}

func TestTokenAndTLS(t *testing.T) {
	a := arithtest.NewAuthority(t)
	cert, key := a.Sign(t, "arith.example")
	callerCert, callerKey := a.Sign(t, "caller")
	cfg, err := (&arith.TLSFiles{Cert: cert, Key: key, CA: a.CA}).Server()
	if err != nil {
		t.Fatal(err)
	}
	addr := serve(t, rpcruntime.ServerTLS(cfg), rpcruntime.Authenticate(arith.RequireToken("sesame")))
	mutual := " --tls-ca " + a.CA + " --tls-cert " + callerCert + " --tls-key " + callerKey
	prints(t, "Arith.Mul 6 7 = 42\n", addr, "--token sesame"+mutual)
	prints(t, "Arith.Mul 6 7 = 42\n", addr, "--token sesame --tls-name arith.example"+mutual)
	for args, want := range map[string]status.Code{
		"--token wrong" + mutual: status.Unauthenticated,
		mutual:                   status.Unauthenticated,
		"--token sesame --tls-name other" + mutual: status.Unavailable,
		"--token sesame --tls-ca " + a.CA:          status.Unavailable, // the server wants a certificate
		"--token sesame --timeout 300ms":           status.DeadlineExceeded,
	} {
		err := run(t.Context(), append([]string{"--addr", addr}, strings.Fields(args)...), io.Discard, io.Discard)
		if code := status.CodeOf(err); code == status.OK || want == status.Unauthenticated && code != want {
			t.Errorf("%s: %v, want %s", args, err, want)
		}
	}
}

func TestManyCalls(t *testing.T) {
	prints(t, "Arith.Mul 6 7 = 42\nArith.Mul 6 7 = 42\nArith.Mul 6 7 = 42\n", serve(t), "--n 3")
}

func TestPush(t *testing.T) {
	addr := serve(t, rpcruntime.ServerIntercept(arith.PushAfterEachCall(slog.New(slog.DiscardHandler))))
	prints(t, strings.Repeat("Arith.Mul 6 7 = 42\n", 2)+strings.Repeat("push Arith.Pushed \"served Arith.Mul\"\n", 2), addr, "--n 2 --push 2")
	var out bytes.Buffer
	err := run(t.Context(), []string{"--addr", addr, "--push", "2", "--timeout", "500ms"}, &out, io.Discard)
	if err == nil || !strings.Contains(err.Error(), "of 2 pushes, 1 came") {
		t.Errorf("%v\n%s", err, out.String())
	}
}

// peer is the other side of one connection, byte by byte.
type peer struct {
	*testing.T
	net.Conn
}

// accept runs do with the first connection, and returns the address to connect to.
func accept(t *testing.T, do func(p peer)) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		conn, err := ln.Accept()
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
			t.Error(err)
			return
		}
		do(peer{t, conn})
	}()
	t.Cleanup(func() {
		ln.Close()
		<-done
	})
	return ln.Addr().String()
}

// frame reads a frame. docs/wire-protocol.md §1
func (p peer) frame() []byte {
	f := make([]byte, 16)
	if _, err := io.ReadFull(p, f); err != nil {
		p.Error(err)
		return f
	}
	f = append(f, make([]byte, binary.BigEndian.Uint32(f[12:]))...)
	if _, err := io.ReadFull(p, f[16:]); err != nil {
		p.Error(err)
	}
	return f
}

// answer sends a frame back as its response, with no metadata and this payload.
func (p peer) answer(f []byte, payload string) {
	out := append(bytes.Clone(f[:12]), 0, 0, 0, 0)
	out[2] = 0x80
	out = append(out, make([]byte, 12)...) // no path, no method, no metadata
	out = binary.BigEndian.AppendUint32(out, uint32(len(payload)))
	out = append(out, payload...)
	binary.BigEndian.PutUint32(out[12:], uint32(len(out)-16))
	if _, err := p.Write(out); err != nil {
		p.Error(err)
	}
}

// What is larger than 1,024 bytes goes out as gzip; the rest does not.
func TestGzip(t *testing.T) {
	for size, want := range map[string]byte{"1024": 0, "1025": 1 << 2} {
		addr := accept(t, func(p peer) {
			f := p.frame()
			if f[2]&0x1c != want {
				t.Errorf("of %s bytes the flags are %02x", size, f[2])
			}
			if want != 0 && (!bytes.Contains(f, []byte{0x1f, 0x8b}) || len(f) > 500) {
				t.Errorf("it is not compressed: %d bytes", len(f))
			}
			p.answer(f, "there")
		})
		prints(t, `Arith.Echo "hellohellohelloh"... (`+size+` bytes) = "there"`+"\n", addr, "--codec raw --gzip --size "+size)
	}
	prints(t, `Arith.Echo "hellohellohelloh"... (5000 bytes) = "hellohellohelloh"... (5000 bytes)`+"\n", serve(t), "--codec raw --gzip --size 5000")
}

// A oneway call is one on the wire, and nothing is waited for.
func TestOneway(t *testing.T) {
	addr := accept(t, func(p peer) {
		if f := p.frame(); f[2] != 0x20 || !bytes.Contains(f, []byte("Mul")) {
			t.Errorf("got %x", f)
		}
	})
	prints(t, "Arith.Mul 6 7 sent\n", addr, "--oneway")
	prints(t, "Arith.Echo \"hello\" sent\n", serve(t), "--oneway --codec raw")
}

// While a call takes its time, heartbeats go out.
func TestHeartbeat(t *testing.T) {
	addr := accept(t, func(p peer) {
		call := p.frame()
		for range 2 {
			beat := p.frame()
			if beat[2] != 0x40 {
				t.Errorf("it is no heartbeat: %x", beat)
			}
			beat[2] |= 0x80
			if _, err := p.Write(beat); err != nil {
				t.Error(err)
			}
		}
		p.answer(call, `{"C":42}`)
	})
	prints(t, "Arith.Mul 6 7 = 42\n", addr, "--codec json --heartbeat 20ms")
}
