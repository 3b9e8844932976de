// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/fairlead/fairlead/rpcruntime"
	"github.com/fairlead/fairlead/rpcruntime/status"
)

// asProgram, in the environment, makes the test binary the program itself, or an
// instance of arith, so that tests can kill them.
const asProgram = "FAIRLEAD_TEST_AS_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) == "arith" {
		if err := arith(); err != nil {
			panic(err)
		}
		return
	}
	if os.Getenv(asProgram) != "" {
		ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
		context.AfterFunc(ctx, stop)
		os.Exit(run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
	}
	for _, name := range []string{"FAIRLEAD_REGISTRY", "FAIRLEAD_NAMESPACE", "FAIRLEAD_APP", "FAIRLEAD_SERVICES", "FAIRLEAD_CACHE_DIR"} {
		if err := os.Unsetenv(name); err != nil {
			panic(err)
		}
	}
	// No test finds a cluster by chance.
	if err := os.Setenv("KUBECONFIG", filepath.Join(os.TempDir(), "no-such-kubeconfig")); err != nil {
		panic(err)
	}
	os.Exit(m.Run())
}

// arith is an instance of default/arith, for ever.
func arith() error {
	rt, err := rpcruntime.New()
	if err != nil {
		return err
	}
	return rt.NewServer(rpcruntime.Service("default/arith"), rpcruntime.Advertise("")).ListenAndServe(context.Background(), "127.0.0.1:0")
}

// patience bounds every wait; nothing waits for as long when all is well.
const patience = 20 * time.Second

// result is what a command did.
type result struct {
	code        int
	out, errOut string
}

// fairlead runs a command as a shell would.
func fairlead(t *testing.T, args ...string) result { return fairleadWith(t, "", args...) }

func fairleadWith(t *testing.T, stdin string, args ...string) result {
	t.Helper()
	var out, errOut bytes.Buffer
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	code := run(ctx, args, strings.NewReader(stdin), &out, &errOut)
	return result{code, out.String(), errOut.String()}
}

// says fails the test unless all of the texts are there.
func (r result) says(t *testing.T, code int, where string, texts ...string) {
	t.Helper()
	in := r.out
	if where == "stderr" {
		in = r.errOut
	}
	if r.code != code {
		t.Errorf("exit code %d, want %d\nstdout: %s\nstderr: %s", r.code, code, r.out, r.errOut)
	}
	for _, text := range texts {
		if !strings.Contains(in, text) {
			t.Errorf("%s does not say %q:\n%s", where, text, in)
		}
	}
}

// buffer is written and read at once.
type buffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

// eventually waits until something is so.
func eventually(t *testing.T, said func() string, so func() bool) {
	t.Helper()
	ticker, giveUp := time.NewTicker(5*time.Millisecond), time.NewTimer(patience)
	defer ticker.Stop()
	defer giveUp.Stop()
	for !so() {
		select {
		case <-ticker.C:
		case <-giveUp.C:
			t.Fatalf("it never came:\n%s", said())
		}
	}
}

// program is a process of ours.
type program struct {
	*exec.Cmd
	out, errOut *buffer
}

func startProgram(t *testing.T, args ...string) *program {
	t.Helper()
	return startAs(t, "fairlead", args...)
}

func startAs(t *testing.T, what string, args ...string) *program {
	t.Helper()
	p := &program{Cmd: exec.Command(os.Args[0], args...), out: new(buffer), errOut: new(buffer)}
	p.Env = append(os.Environ(), asProgram+"="+what)
	p.Stdout, p.Stderr = p.out, p.errOut
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if p.ProcessState == nil {
			_ = p.Process.Kill() // it may have ended by itself
			_ = p.Wait()
		}
	})
	return p
}

func (p *program) said() string { return p.out.String() + p.errOut.String() }

// served is a standalone control plane in a process of its own.
type served struct {
	*program
	address string
}

func serveFolder(t *testing.T, manifests, state, listen string) *served {
	t.Helper()
	r := &served{program: startProgram(t, "serve", "--manifests", manifests, "--state", state, "--listen", listen)}
	eventually(t, r.said, func() bool {
		_, address, found := strings.Cut(r.out.String(), "FAIRLEAD_REGISTRY=")
		r.address = strings.TrimSpace(address)
		return found
	})
	return r
}

const arithManifest = `apiVersion: rpc.fairlead.dev/v1alpha1
kind: RPCService
metadata: {name: arith}
spec:
  source: {type: Registered}
  methods:
  - {name: Arith.Mul, idempotency: Idempotent}
`

func write(t *testing.T, file, text string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func newRuntime(t *testing.T, options ...rpcruntime.RuntimeOption) *rpcruntime.Runtime {
	t.Helper()
	rt, err := rpcruntime.New(options...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := rt.Close(ctx); err != nil {
			t.Error(err)
		}
	})
	return rt
}

type mulArgs struct{ A, B int64 }
type mulReply struct{ C int64 }

// serveArith runs an arith server, and gives its address.
func serveArith(t *testing.T, rt *rpcruntime.Runtime, options ...rpcruntime.ServerOption) string {
	t.Helper()
	srv := rt.NewServer(options...)
	rpcruntime.Handle(srv, "Arith.Mul", func(ctx context.Context, a *mulArgs) (*mulReply, error) {
		if rpcruntime.IncomingMetadata(ctx)["refuse"] != "" {
			return nil, status.New(status.ResourceExhausted, "refused: "+rpcruntime.IncomingMetadata(ctx)["refuse"])
		}
		return &mulReply{a.A * a.B}, nil
	})
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- srv.Serve(ctx, ln) }()
	t.Cleanup(func() {
		cancel()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	return ln.Addr().String()
}
