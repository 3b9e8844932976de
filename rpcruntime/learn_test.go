// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package rpcruntime

import (
	"context"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr/funcr"

	"github.com/fairlead/fairlead/rpcruntime/limit"
	"github.com/fairlead/fairlead/rpcruntime/policy"
	"github.com/fairlead/fairlead/rpcruntime/registry"
	"github.com/fairlead/fairlead/rpcruntime/transport"
	"github.com/fairlead/fairlead/rpcruntime/wire"
)

func serviceNames(srv *Server) []string {
	var names []string
	for _, v := range *srv.services.Load() {
		names = append(names, v.name)
	}
	return names
}

func selfAt(port string, services ...string) registry.Self {
	var self registry.Self
	for _, s := range services {
		self.Serves = append(self.Serves, registry.Serving{Service: s, Port: port})
	}
	return self
}

func TestLearntServicesComeAndGo(t *testing.T) {
	tests := []struct {
		name       string
		configured []string
		selves     []registry.Self
		want       []string
	}{
		{"learnt", nil, []registry.Self{selfAt("1", "shop/a", "shop/b")}, []string{"shop/a", "shop/b"}},
		{"of another port", nil, []registry.Self{selfAt("2", "shop/a")}, nil},
		{"one goes", nil, []registry.Self{selfAt("1", "shop/a", "shop/b"), selfAt("1", "shop/b")}, []string{"shop/b"}},
		{"all go", nil, []registry.Self{selfAt("1", "shop/a", "shop/b"), {}}, nil},
		{"one for another", nil, []registry.Self{selfAt("1", "shop/a"), selfAt("1", "shop/b")}, []string{"shop/b"}},
		{"gone and back", nil, []registry.Self{selfAt("1", "shop/a"), {}, selfAt("1", "shop/a")}, []string{"shop/a"}},
		{"configured ones stay", []string{"shop/c"}, []registry.Self{selfAt("1", "shop/a"), {}}, []string{"shop/c"}},
		{"configured and learnt ones too", []string{"shop/c"}, []registry.Self{selfAt("1", "shop/c", "shop/a"), {}}, []string{"shop/c"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			srv := newRuntime(t).NewServer()
			stopped := map[string]int{}
			srv.mu.Lock()
			srv.port, srv.state = "1", serverServing
			for _, name := range tt.configured {
				srv.addServiceLocked(name, false)
			}
			srv.mu.Unlock()
			learnt := map[string]int{}
			for _, self := range tt.selves {
				before := *srv.services.Load()
				srv.learn(self)
				for _, v := range *srv.services.Load() {
					if !slices.Contains(before, v) {
						learnt[v.name]++
						v.unwatch = func() { stopped[v.name]++ }
					}
				}
			}
			if got := serviceNames(srv); !slices.Equal(got, tt.want) {
				t.Errorf("serves %q, want %q", got, tt.want)
			}
			for name, n := range learnt {
				if slices.Contains(tt.want, name) {
					n--
				}
				if stopped[name] != n {
					t.Errorf("the watch of %s was ended %d times, want %d", name, stopped[name], n)
				}
			}
		})
	}
}

// A server that is not an instance of a service any more does not apply its
// limits, nor answer to its name; calls that run give back what they hold.
func TestUnlearntServiceTakesItsLimitsAlong(t *testing.T) {
	held, release := make(chan struct{}, 10), make(chan struct{})
	addr, srv := serveWith(t, newRuntime(t), func(s *Server) {
		HandleRaw(s, "Raw.Hold", func(_ context.Context, b []byte) ([]byte, error) {
			held <- struct{}{}
			<-release
			return b, nil
		})
	}, Service("shop/mine"))
	instanceOf(t, srv)
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		t.Fatal(err)
	}
	srv.mu.Lock()
	srv.port = port // which a server without a registry has no use for
	srv.mu.Unlock()
	srv.learn(selfAt(port, "shop/learnt"))
	learnt := (*srv.services.Load())[1]
	learnt.Changed(&policy.Snapshot{Limits: []policy.Limit{{Name: "one", MaxConcurrent: 1}}}, registry.Live)
	p := dialRaw(t, addr)
	seq := uint64(0)
	send := func(meta ...string) {
		seq++
		p.send(requestBytes(wire.RequestHeader(seq, wire.SerializeRaw, false), "Raw", "Hold", "x", meta...))
	}
	next := func() wire.Frame {
		for {
			if f := p.frame(); f.Response() {
				return f
			}
		}
	}
	reason := func(f wire.Frame) string {
		mark, _ := f.Meta.Get(wire.KeyRetry)
		return wire.ParseRetry(mark).Reason
	}
	send(wire.KeyAnnounce, string(wire.AppendAnnouncement(nil, wire.Announcement{Seq: 1, To: "shop/learnt"})))
	receive(t, held, "the first call")
	send()
	if f := next(); f.Status() != wire.StatusError || reason(f) != wire.ReasonLimit {
		t.Fatalf("the second call was not refused by the limit: %v %q", f.Status(), reason(f))
	}
	srv.learn(registry.Self{})
	send()
	if f := next(); f.Status() != wire.StatusError || reason(f) != wire.ReasonWrongEndpoint {
		t.Errorf("answered to the name of a service that is not its own any more: %v %q", f.Status(), reason(f))
	}
	close(release)
	if f := next(); f.Status() != wire.StatusNormal || f.Seq != 1 {
		t.Errorf("the call that ran ended with %v", f.Status())
	}
	ticket, d := learnt.admit("Raw.Hold", Peer{}, srv.rt.now())
	if d.Verdict != limit.Run {
		t.Errorf("the call that ran has not given its place back: %+v", d)
	}
	ticket.Done()
}

// late is a server's handler whose requests have waited for an hour.
type late struct{ *serverHandler }

func (l late) Request(in *transport.Inbound) {
	in.Timeout, in.Received = time.Second, time.Now().Add(-time.Hour)
	l.serverHandler.Request(in)
}

func TestRefusalsAreLogged(t *testing.T) {
	long := strings.Repeat("x", 1000)
	tests := []struct {
		name, method string
		late         bool
		want         []string
	}{
		{"unknown method", long, false, []string{`"reason"=""`, `"path"="Raw"`, `"code"="Unimplemented"`, "[cut]"}},
		{"deadline", "Echo", true, []string{`"reason"="deadline"`, `"method"="Echo"`, `"code"="DeadlineExceeded"`}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for _, verbosity := range []int{0, 1} {
				var mu sync.Mutex
				var logged []string
				rt := newRuntime(t, WithLogger(funcr.New(func(_, line string) {
					mu.Lock()
					defer mu.Unlock()
					if strings.Contains(line, `"call refused"`) {
						logged = append(logged, line)
					}
				}, funcr.Options{Verbosity: verbosity})))
				srv := rt.NewServer()
				HandleRaw(srv, "Raw.Echo", echoRaw)
				ours, theirs := net.Pipe()
				var h transport.Handler = (*serverHandler)(srv)
				if tt.late {
					h = late{(*serverHandler)(srv)}
				}
				conn := transport.NewServer(theirs, rt.transportConfig(), h, nil)
				p := rawPeer{t, ours}
				p.send(requestBytes(wire.RequestHeader(1, wire.SerializeRaw, false), "Raw", tt.method, "secret payload", "token", "secret"))
				if f := p.frame(); f.Status() != wire.StatusError {
					t.Fatal("not refused")
				}
				_ = ours.Close()
				conn.Close()
				mu.Lock()
				defer mu.Unlock()
				if len(logged) != verbosity {
					t.Fatalf("at V(%d): logged %q", verbosity, logged)
				}
				for _, line := range logged {
					for _, want := range tt.want {
						if !strings.Contains(line, want) {
							t.Errorf("the line does not have %s: %s", want, line)
						}
					}
					if strings.Contains(line, "secret") || strings.Contains(line, long) {
						t.Errorf("the line says too much: %s", line)
					}
				}
			}
		})
	}
}

func TestLearntServicesAreNotAdvertised(t *testing.T) {
	srv := newRuntime(t).NewServer()
	srv.mu.Lock()
	defer srv.mu.Unlock()
	srv.addServiceLocked("shop/mine", false)
	srv.learnLocked(selfAt("", "shop/learnt"))
	if got := srv.advertisedLocked(); !slices.Equal(got, []string{"shop/mine"}) {
		t.Errorf("advertises %q", got)
	}
}
