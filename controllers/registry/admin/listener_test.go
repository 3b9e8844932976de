// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package admin

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/fairlead/fairlead/internal/publish"
)

// patience bounds every wait; nothing waits for as long when all is well.
const patience = 10 * time.Second

// start runs a listener, and gives its address.
func start(t *testing.T, held func(publish.HeldQuery) publish.Held) (address string, metrics *prometheus.Registry) {
	t.Helper()
	opened := make(chan net.Addr, 1)
	metrics = prometheus.NewRegistry()
	l, err := New(Config{
		Address: "127.0.0.1:0", Held: held, Listening: func(a net.Addr) { opened <- a }, Metrics: metrics,
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- l.Start(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	select {
	case a := <-opened:
		return a.String(), metrics
	case <-time.After(patience):
		t.Fatal("it does not listen")
		return "", nil
	}
}

// request sends what is needed and nothing else.
func request(t *testing.T, address, method, target, host string) (code int, header http.Header, body string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, "http://"+address+target, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	r.Host = host
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, response.Header, string(text)
}

func TestAnswers(t *testing.T) {
	asked := make(chan publish.HeldQuery, 1)
	address, metrics := start(t, func(q publish.HeldQuery) publish.Held {
		asked <- q
		return publish.Held{Replica: "one", Clients: []publish.HeldClient{{Namespace: "web", Pod: "checkout-1"}}}
	})
	for target, want := range map[string]publish.HeldQuery{
		"/clients":                    {},
		"/clients?service=shop/arith": {Services: []string{"shop/arith"}},
		"/clients?service=shop/arith&service=shop/b":   {Services: []string{"shop/arith", "shop/b"}},
		"/clients?namespace=shop":                      {Namespace: "shop"},
		"/clients?namespace=shop&service=shop%2Farith": {Services: []string{"shop/arith"}, Namespace: "shop"},
	} {
		for _, host := range []string{"localhost:8082", "localhost", "127.0.0.1:1", "[::1]:8082", "[::1]"} {
			code, header, body := request(t, address, http.MethodGet, target, host)
			if code != http.StatusOK {
				t.Fatalf("%s of %s: %d %s", target, host, code, body)
			}
			if got := <-asked; !slices.Equal(got.Services, want.Services) || got.Namespace != want.Namespace {
				t.Errorf("%s asks for %+v, want %+v", target, got, want)
			}
			var held publish.Held
			if err := json.Unmarshal([]byte(body), &held); err != nil || held.Replica != "one" || len(held.Clients) != 1 {
				t.Errorf("%s: %v in %s", target, err, body)
			}
			if header.Get("Content-Type") != "application/json" || header.Get("Cache-Control") != "no-store" {
				t.Errorf("the headers are %v", header)
			}
		}
	}
	families, err := metrics.Gather()
	if err != nil || len(families) != 1 || families[0].GetName() != "fairlead_admin_requests_total" || families[0].GetMetric()[0].GetCounter().GetValue() != 25 {
		t.Errorf("counted %v, %v", families, err)
	}
}

func TestRefusals(t *testing.T) {
	address, _ := start(t, func(publish.HeldQuery) publish.Held {
		t.Error("somebody was answered")
		return publish.Held{}
	})
	many := "/clients?service=a/b" + strings.Repeat("&service=a/b", maxServices)
	for _, test := range []struct {
		method, target, host string
		code                 int
		says                 string
	}{
		{http.MethodPost, "/clients", "localhost", http.StatusMethodNotAllowed, "GET"},
		{http.MethodDelete, "/clients", "localhost", http.StatusMethodNotAllowed, "GET"},
		{http.MethodHead, "/clients", "localhost", http.StatusMethodNotAllowed, ""},
		{http.MethodGet, "/", "localhost", http.StatusNotFound, "/clients"},
		{http.MethodGet, "/clients/", "localhost", http.StatusNotFound, "/clients/"},
		{http.MethodGet, "/debug/pprof/", "localhost", http.StatusNotFound, "/debug"},
		{http.MethodGet, "/clients", "evil.example.com", http.StatusForbidden, "evil.example.com"},
		{http.MethodGet, "/clients", "10.0.0.1:8082", http.StatusForbidden, "10.0.0.1"},
		{http.MethodGet, "/clients?servic=shop/arith", "localhost", http.StatusBadRequest, "servic"},
		{http.MethodGet, "/clients?service=shop", "localhost", http.StatusBadRequest, "shop"},
		{http.MethodGet, "/clients?namespace=a&namespace=b", "localhost", http.StatusBadRequest, "2 times"},
		{http.MethodGet, many, "localhost", http.StatusBadRequest, "101 services"},
	} {
		code, header, body := request(t, address, test.method, test.target, test.host)
		if code != test.code || !strings.Contains(body, test.says) {
			t.Errorf("%s %s of %s: %d %s, want %d and %q", test.method, test.target, test.host, code, body, test.code, test.says)
		}
		if code == http.StatusMethodNotAllowed && header.Get("Allow") != http.MethodGet {
			t.Errorf("allows %q", header.Get("Allow"))
		}
	}
	// The server may end the connection before it has read all of it.
	long, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+address+"/clients?service="+strings.Repeat("x", 2*maxHeaders), http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	if response, err := http.DefaultClient.Do(long); err == nil {
		_ = response.Body.Close()
		if response.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
			t.Errorf("a long request: %d", response.StatusCode)
		}
	}
}

// TestAtOnce holds answers up, and asks once more.
func TestAtOnce(t *testing.T) {
	begun, release := make(chan struct{}), make(chan struct{})
	address, _ := start(t, func(publish.HeldQuery) publish.Held {
		begun <- struct{}{}
		<-release
		return publish.Held{}
	})
	codes := make(chan int, maxAtOnce)
	for range maxAtOnce {
		go func() {
			code, _, _ := request(t, address, http.MethodGet, "/clients", "localhost")
			codes <- code
		}()
		<-begun
	}
	if code, header, _ := request(t, address, http.MethodGet, "/clients", "localhost"); code != http.StatusServiceUnavailable || header.Get("Retry-After") == "" {
		t.Errorf("one too many: %d %v", code, header)
	}
	close(release)
	for range maxAtOnce {
		if code := <-codes; code != http.StatusOK {
			t.Errorf("one of those before: %d", code)
		}
	}
}

// TestConnections opens as many as there is room for: the next one is answered
// once another has gone.
func TestConnections(t *testing.T) {
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := newBounded(inner)
	accepted, ended := make(chan net.Conn), make(chan error, 1)
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				ended <- err
				return
			}
			accepted <- conn
		}
	}()
	var open []net.Conn
	for range maxConns + 1 {
		conn, err := net.Dial("tcp", inner.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
	}
	for range maxConns {
		open = append(open, <-accepted)
	}
	if got := len(l.room); got != maxConns {
		t.Errorf("%d are open, want %d", got, maxConns)
	}
	select {
	case <-accepted:
		t.Error("one too many")
	default:
	}
	for range 2 { // twice is once
		if err := open[0].Close(); err != nil {
			break
		}
	}
	select {
	case conn := <-accepted:
		_ = conn.Close()
	case <-time.After(patience):
		t.Error("nobody is let in for the one that has gone")
	}
	// One more comes and goes to fill it again: Close ends who waits for room.
	last, err := net.Dial("tcp", inner.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer last.Close()
	open[0] = <-accepted
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	select {
	case <-ended:
	case <-time.After(patience):
		t.Error("Accept goes on after Close")
	}
	for _, conn := range open {
		_ = conn.Close()
	}
}

// TestEnd ends while a client that says nothing is connected.
func TestEnd(t *testing.T) {
	opened := make(chan net.Addr, 1)
	l, err := New(Config{
		Address: "127.0.0.1:0", Held: func(publish.HeldQuery) publish.Held { return publish.Held{} },
		Listening: func(a net.Addr) { opened <- a }, Metrics: prometheus.NewRegistry(),
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- l.Start(ctx) }()
	conn, err := net.Dial("tcp", (<-opened).String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	cancel()
	select {
	case err := <-ended:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(patience):
		t.Fatal("it does not end")
	}
	if _, err := bufio.NewReader(conn).ReadByte(); err == nil {
		t.Error("the connection lives on")
	}
}

func TestLoopbackOnly(t *testing.T) {
	for address, fine := range map[string]bool{
		"127.0.0.1:8082": true, "[::1]:8082": true, "localhost:8082": true, "127.1.2.3:0": true,
		":8082": false, "0.0.0.0:8082": false, "[::]:8082": false, "10.0.0.1:8082": false, "operator:8082": false, "127.0.0.1": false,
	} {
		_, err := New(Config{Address: address, Metrics: prometheus.NewRegistry()})
		if (err == nil) != fine {
			t.Errorf("%s: %v", address, err)
		}
	}
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	l, err := New(Config{Address: taken.Addr().String(), Metrics: prometheus.NewRegistry()})
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Start(t.Context()); err == nil || !strings.Contains(err.Error(), taken.Addr().String()) {
		t.Errorf("an address that is taken: %v", err)
	}
}
