// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package rpcruntime

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-logr/logr/funcr"

	"github.com/fairlead/fairlead/rpcruntime/status"
	"github.com/fairlead/fairlead/rpcruntime/wire"
)

var errVault = errors.New("the vault is sealed")

func rawEcho(s *Server) { HandleRaw(s, "Raw.Echo", echoRaw) }

func tokenOf(t *testing.T, f wire.Frame) string {
	t.Helper()
	v, _ := f.Meta.Get(wire.KeyAuth)
	return string(v)
}

// docs/wire-protocol.md §5
func TestEveryAttemptCarriesATokenOfItsOwn(t *testing.T) {
	overloaded := func(f wire.Frame) []byte {
		return reply(f, wire.StatusError, "", wire.KeyError, "request reached rate limit")
	}
	addr, requests := oldServer(t, overloaded)
	var asked atomic.Int64
	source := func(context.Context) (string, error) { return "tok-" + strconv.FormatInt(asked.Add(1), 10), nil }
	c := newRuntime(t).NewClient("test", Endpoints(addr), WithToken(source))
	for i := 1; i <= 3; i++ {
		_, err := Call[mulReply](t.Context(), c, "Arith.Mul", &mulArgs{2, 3})
		wantCode(t, err, status.ResourceExhausted)
		if got, want := tokenOf(t, <-requests), "tok-"+strconv.Itoa(i); got != want {
			t.Errorf("call %d carried %q, want %q", i, got, want)
		}
	}
}

func TestAResendAsksForAnotherToken(t *testing.T) {
	var refuse atomic.Bool
	refuse.Store(true)
	once := ServerIntercept(func(next ServerInvoker) ServerInvoker {
		return func(ctx context.Context, call *ServerCall) (any, error) {
			if refuse.Swap(false) {
				return nil, call.Refuse(status.New(status.ResourceExhausted, "full"))
			}
			return next(ctx, call)
		}
	})
	first, _ := serveWith(t, newRuntime(t), rawEcho, once)
	second, _ := serveWith(t, newRuntime(t), rawEcho, once)
	var asked atomic.Int64
	source := func(context.Context) (string, error) { asked.Add(1); return "t", nil }
	c := newRuntime(t).NewClient("test", Endpoints(first, second), FixedPolicy(generous(2)), WithToken(source))
	if _, err := Call[[]byte](t.Context(), c, "Raw.Echo", []byte("x")); err != nil {
		t.Fatal(err)
	}
	if n := asked.Load(); n != 2 {
		t.Errorf("the source was asked %d times for two attempts", n)
	}
}

func TestWithoutATokenNothingIsSent(t *testing.T) {
	addr, requests := oldServer(t, func(f wire.Frame) []byte { return reply(f, wire.StatusNormal, "") })
	for name, tc := range map[string]struct {
		source TokenSource
		code   status.Code
		cause  error
	}{
		"the source fails": {func(context.Context) (string, error) { return "", errVault }, status.Unauthenticated, errVault},
		"it is too long":   {StaticToken(strings.Repeat("x", maxTokenFile+1)), status.Unauthenticated, errTokenSize},
		"no such file":     {TokenFile(filepath.Join(t.TempDir(), "none")), status.Unauthenticated, os.ErrNotExist},
	} {
		t.Run(name, func(t *testing.T) {
			c := newRuntime(t).NewClient("test", Endpoints(addr), WithToken(tc.source), FixedPolicy(generous(3), "Arith.Mul"))
			_, err := Call[mulReply](t.Context(), c, "Arith.Mul", &mulArgs{})
			wantFate(t, err, tc.code, status.FateUnexecuted)
			if !errors.Is(err, tc.cause) {
				t.Errorf("%v does not lead to %v", err, tc.cause)
			}
			if n := len(requests); n != 0 {
				t.Errorf("%d requests were sent", n)
			}
		})
	}
	t.Run("the caller gave up meanwhile", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		c := newRuntime(t).NewClient("test", Endpoints(addr), WithToken(func(ctx context.Context) (string, error) {
			cancel()
			return "", ctx.Err()
		}))
		_, err := Call[mulReply](ctx, c, "Arith.Mul", &mulArgs{})
		wantFate(t, err, status.Canceled, status.FateUnexecuted)
	})
	t.Run("an empty token", func(t *testing.T) {
		c := newRuntime(t).NewClient("test", Endpoints(addr), WithToken(StaticToken("")))
		if err := CallInto(t.Context(), c, "Arith.Mul", &mulArgs{}, nil); err != nil {
			t.Fatal(err)
		}
		if f := <-requests; f.Meta.Entries() != 0 && tokenOf(t, f) != "" {
			t.Error("an empty token was sent")
		}
	})
}

func TestTokensAreNotLogged(t *testing.T) {
	const secret = "s3cr3t-t0k3n"
	addr, _ := oldServer(t, func(f wire.Frame) []byte { return reply(f, wire.StatusError, "", wire.KeyError, "no") })
	var mu sync.Mutex
	var lines strings.Builder
	log := funcr.New(func(_, args string) {
		mu.Lock()
		defer mu.Unlock()
		lines.WriteString(args + "\n")
	}, funcr.Options{Verbosity: 10})
	c := newRuntime(t, WithLogger(log)).NewClient("test", Endpoints(addr, deadAddr(t)), WithToken(StaticToken(secret)), FixedPolicy(generous(3)))
	for range 5 {
		err := CallInto(t.Context(), c, "Arith.Mul", &mulArgs{}, nil)
		if err == nil || strings.Contains(err.Error(), secret) {
			t.Errorf("error %v", err)
		}
	}
	mu.Lock()
	text := lines.String()
	mu.Unlock()
	if text == "" || strings.Contains(text, secret) {
		t.Errorf("the log has the token, or nothing:\n%s", text)
	}
}

// fileClock is a TokenFile whose time the test moves.
type fileClock struct {
	*tokenFile
	t    *testing.T
	time time.Time
}

func newFileClock(t *testing.T) *fileClock {
	c := &fileClock{tokenFile: &tokenFile{path: filepath.Join(t.TempDir(), "token")}, t: t, time: time.Now().Add(time.Hour)}
	c.now = func() time.Time { return c.time }
	return c
}

func (c *fileClock) want(want string) {
	c.t.Helper()
	if got, err := c.token(c.t.Context()); err != nil || got != want {
		c.t.Errorf("token %q, %v; want %q", got, err, want)
	}
}

// write replaces the file as Kubernetes does, by another.
func (c *fileClock) write(content string) {
	c.t.Helper()
	next := c.path + ".next"
	if err := os.WriteFile(next, []byte(content), 0o600); err != nil {
		c.t.Fatal(err)
	}
	if err := os.Rename(next, c.path); err != nil {
		c.t.Fatal(err)
	}
}

func TestTokenFileFollowsItsFile(t *testing.T) {
	c := newFileClock(t)
	if _, err := c.token(t.Context()); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
	c.write("  one\n")
	if _, err := c.token(t.Context()); err == nil {
		t.Error("it looked again within the second")
	}
	c.time = c.time.Add(tokenFileEvery)
	c.want("one")
	c.write("two")
	c.want("one") // not looked at more than once a second
	c.time = c.time.Add(tokenFileEvery - 1)
	c.want("one")
	c.time = c.time.Add(1)
	c.want("two")

	for name, spoil := range map[string]func(){
		"gone":     func() { _ = os.Remove(c.path) },
		"empty":    func() { c.write(" \n") },
		"too long": func() { c.write(strings.Repeat("x", maxTokenFile+1)) },
	} {
		spoil()
		c.time = c.time.Add(tokenFileEvery)
		if got, err := c.token(t.Context()); err != nil || got != "two" {
			t.Errorf("%s: %q, %v; want the last good token", name, got, err)
		}
	}
	c.write("three")
	c.time = c.time.Add(tokenFileEvery)
	c.want("three")
}

// A file that has changed again within the grain of its file system's clock, and
// has the same size, is seen all the same.
func TestTokenFileDoesNotTrustAFreshTime(t *testing.T) {
	c := newFileClock(t)
	at := time.Now().Truncate(time.Second)
	put := func(content string) {
		t.Helper()
		if err := os.WriteFile(c.path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(c.path, at, at); err != nil {
			t.Fatal(err)
		}
	}
	c.time = at.Add(tokenFileSettled - 1)
	put("one")
	c.want("one")
	put("two")
	c.time = c.time.Add(tokenFileEvery)
	c.want("two")
	put("three")
	c.time = c.time.Add(tokenFileEvery)
	c.want("three")
	put("threx") // by now the time is trusted
	c.time = c.time.Add(tokenFileEvery)
	c.want("three")
}

// docs/wire-protocol.md §5
func TestTokenFileReachesTheWire(t *testing.T) {
	addr, requests := oldServer(t, func(f wire.Frame) []byte { return reply(f, wire.StatusNormal, "") })
	path := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(path, []byte("abc\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c := newRuntime(t).NewClient("test", Endpoints(addr), WithToken(TokenFile(path)))
	if err := CallInto(t.Context(), c, "Arith.Mul", &mulArgs{}, nil); err != nil {
		t.Fatal(err)
	}
	if s := tokenOf(t, <-requests); s != "abc" {
		t.Errorf("token %q", s)
	}
}
