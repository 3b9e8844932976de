// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/hex"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/fairlead/fairlead/examples/arith"
	"github.com/fairlead/fairlead/examples/arith/internal/arithtest"
	"github.com/fairlead/fairlead/rpcruntime"
	"github.com/fairlead/fairlead/rpcruntime/status"
)

// serve runs the program until the test is over, and returns its address.
func serve(t *testing.T, args ...string) string {
	t.Helper()
	t.Setenv("FAIRLEAD_REGISTRY", "")
	ctx, cancel := context.WithCancel(context.Background())
	out, in := io.Pipe()
	done := make(chan error, 1)
	go func() {
		err := run(ctx, append(args, "--listen", "127.0.0.1:0"), in, io.Discard)
		in.Close()
		done <- err
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	return line[strings.LastIndexByte(line, ' ')+1 : len(line)-1]
}

// mul calls the server as a program with these options does.
func mul(t *testing.T, addr string, options ...rpcruntime.ClientOption) error {
	t.Helper()
	rt, err := rpcruntime.New(rpcruntime.WithoutRegistry())
	if err != nil {
		t.Fatal(err)
	}
	defer rt.Close(context.Background())
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	client := rt.NewClient("arith", append(options, rpcruntime.Endpoints(addr))...)
	reply, err := rpcruntime.Call[arith.Reply](ctx, client, arith.Mul, &arith.Args{A: 6, B: 7})
	if err == nil && reply.C != 42 {
		t.Errorf("6 * 7 = %d", reply.C)
	}
	return err
}

func TestServesUntilItsContextEnds(t *testing.T) {
	if err := mul(t, serve(t)); err != nil {
		t.Error(err)
	}
}

func TestToken(t *testing.T) {
	addr := serve(t, "--token", "sesame")
	for token, want := range map[string]status.Code{"sesame": status.OK, "sesam": status.Unauthenticated, "Sesame": status.Unauthenticated, "": status.Unauthenticated} {
		err := mul(t, addr, rpcruntime.WithToken(rpcruntime.StaticToken(token)))
		if status.CodeOf(err) != want {
			t.Errorf("token %q: %v, want %s", token, err, want)
		}
		if err != nil && strings.Contains(err.Error(), "sesam") {
			t.Errorf("the error has a token in it: %v", err)
		}
	}
	if err := mul(t, addr); status.CodeOf(err) != status.Unauthenticated {
		t.Errorf("no token: %v", err)
	}
}

func TestTLS(t *testing.T) {
	ours, theirs := arithtest.NewAuthority(t), arithtest.NewAuthority(t)
	cert, key := ours.Sign(t, "server")
	callerCert, callerKey := ours.Sign(t, "caller")
	strangerCert, strangerKey := theirs.Sign(t, "stranger")
	withTLS := func(files arith.TLSFiles) rpcruntime.ClientOption {
		cfg, err := files.Client("")
		if err != nil {
			t.Fatal(err)
		}
		return rpcruntime.WithTLS(cfg)
	}
	plain := []rpcruntime.ClientOption{}
	trusting := []rpcruntime.ClientOption{withTLS(arith.TLSFiles{CA: ours.CA})}
	distrusting := []rpcruntime.ClientOption{withTLS(arith.TLSFiles{CA: theirs.CA})}
	mutual := []rpcruntime.ClientOption{withTLS(arith.TLSFiles{CA: ours.CA, Cert: callerCert, Key: callerKey})}
	stranger := []rpcruntime.ClientOption{withTLS(arith.TLSFiles{CA: ours.CA, Cert: strangerCert, Key: strangerKey})}

	tests := map[string]struct {
		args   []string
		served [][]rpcruntime.ClientOption
		not    [][]rpcruntime.ClientOption
	}{
		"TLS":        {[]string{"--tls-cert", cert, "--tls-key", key}, [][]rpcruntime.ClientOption{trusting, mutual}, [][]rpcruntime.ClientOption{plain, distrusting}},
		"mutual TLS": {[]string{"--tls-cert", cert, "--tls-key", key, "--tls-ca", ours.CA}, [][]rpcruntime.ClientOption{mutual}, [][]rpcruntime.ClientOption{plain, trusting, stranger}},
		"both":       {[]string{"--tls-cert", cert, "--tls-key", key, "--also-plaintext"}, [][]rpcruntime.ClientOption{trusting, plain}, [][]rpcruntime.ClientOption{distrusting}},
		"plaintext":  {nil, [][]rpcruntime.ClientOption{plain}, [][]rpcruntime.ClientOption{trusting}},
		"all of it":  {[]string{"--tls-cert", cert, "--tls-key", key, "--tls-ca", ours.CA, "--gateway", "--push"}, [][]rpcruntime.ClientOption{mutual}, [][]rpcruntime.ClientOption{plain}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			addr := serve(t, test.args...)
			for i, options := range test.served {
				if err := mul(t, addr, options...); err != nil {
					t.Errorf("client %d is not served: %v", i, err)
				}
			}
			for i, options := range test.not {
				if err := mul(t, addr, options...); err == nil {
					t.Errorf("client %d is served", i)
				}
			}
		})
	}
}

func TestGateway(t *testing.T) {
	post := func(addr, path, body string, header map[string]string) (int, string) {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+addr+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		for k, v := range header {
			req.Header.Set(k, v)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			return 0, ""
		}
		defer resp.Body.Close()
		answer, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Error(err)
		}
		return resp.StatusCode, strings.TrimSpace(string(answer))
	}
	rpcx := map[string]string{
		"X-RPCX-SerializeType": "1", "X-RPCX-ServicePath": "Arith", "X-RPCX-ServiceMethod": "Mul", "X-RPCX-MessageID": "1", "X-RPCX-MessageType": "0",
	}
	const jsonRPC = `{"jsonrpc":"2.0","id":1,"method":"Arith.Mul","params":{"A":6,"B":7}}`
	addr := serve(t, "--gateway")
	if code, body := post(addr, "/", `{"A":6,"B":7}`, rpcx); code != http.StatusOK || body != `{"C":42}` {
		t.Errorf("the gateway answers %d %s", code, body)
	}
	if code, body := post(addr, "/jsonrpc", jsonRPC, map[string]string{"Content-Type": "application/json"}); code != http.StatusOK || !strings.Contains(body, `"result":{"C":42}`) {
		t.Errorf("JSON-RPC answers %d %s", code, body)
	}
	if err := mul(t, addr); err != nil {
		t.Errorf("on the same port: %v", err)
	}
	http.DefaultClient.CloseIdleConnections()
	if code, body := post(serve(t), "/", `{"A":6,"B":7}`, rpcx); code != 0 {
		t.Errorf("without --gateway: %d %s", code, body)
	}
}

// An rpcx client's connection gets a push for its call: docs/wire-protocol.md §1.
func TestPush(t *testing.T) {
	request, err := hex.DecodeString(strings.ReplaceAll("08000010 0000000000000001 00000027 00000005 4172697468 00000003 4d756c 00000000 0000000f 7b2241223a31302c2242223a32307d", " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	conn, err := net.Dial("tcp", serve(t, "--push"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Write(request); err != nil {
		t.Fatal(err)
	}
	reply, _ := hex.DecodeString("08008010" + "0000000000000001" + "00000021" + "00000005" + "4172697468" + "00000003" + "4d756c" + "00000000" + "00000009" + "7b2243223a3230307d")
	// A oneway request, raw, of any seq: Arith.Pushed, "served Arith.Mul".
	head, _ := hex.DecodeString("08002000")
	tail, _ := hex.DecodeString("0000002b" + "00000005" + "4172697468" + "00000006" + "507573686564" + "00000000" + "00000010" + "736572766564" + "20" + "41726974682e4d756c")
	got := make([]byte, len(reply)+len(head)+8+len(tail))
	if _, err := io.ReadFull(conn, got); err != nil {
		t.Fatal(err)
	}
	rest, found := bytes.CutSuffix(got, reply)
	if !found {
		rest, found = bytes.CutPrefix(got, reply)
	}
	if !found || !bytes.HasPrefix(rest, head) || !bytes.HasSuffix(rest, tail) {
		t.Errorf("got %x", got)
	}
}

func TestBadCommandLines(t *testing.T) {
	t.Setenv("FAIRLEAD_REGISTRY", "")
	a := arithtest.NewAuthority(t)
	cert, key := a.Sign(t, "server")
	_, otherKey := a.Sign(t, "other")
	for args, want := range map[string]string{
		"--service shop/arith": "FAIRLEAD_REGISTRY",
		"--listen nowhere":     "nowhere",
		"--nope":               "nope",
		"extra":                `"extra" is no flag`,
		"--token=":             "--token is empty",
		"--tls-cert " + cert:   "--tls-key",
		"--tls-key " + key:     "--tls-cert",
		"--tls-ca " + a.CA:     "--tls-cert and --tls-key",
		"--also-plaintext":     "--tls-cert",
		"--tls-cert " + cert + " --tls-key " + otherKey:                        "private key does not match",
		"--tls-cert " + cert + " --tls-key /no/such/file":                      "/no/such/file",
		"--tls-cert " + key + " --tls-key " + key:                              "--tls-cert",
		"--tls-cert " + cert + " --tls-key " + key + " --tls-ca /no/such/file": "/no/such/file",
		"--tls-cert " + cert + " --tls-key " + key + " --tls-ca " + key:        "no PEM certificate",
	} {
		if err := run(t.Context(), strings.Fields(args), io.Discard, io.Discard); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", args, err, want)
		}
	}
}
