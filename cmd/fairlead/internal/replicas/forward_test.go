// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package replicas

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/proxy"
	tunnel "k8s.io/apiserver/pkg/util/proxy"
	"k8s.io/client-go/rest"
	"k8s.io/streaming/pkg/httpstream"
	"k8s.io/streaming/pkg/httpstream/spdy"

	"github.com/fairlead/fairlead/internal/publish"
)

// kubelet forwards what comes over SPDY to an address; without one it says why
// not. It is the API server, too.
type kubelet struct {
	to string
	// webSocket: connections come over WebSockets, as well.
	webSocket bool
	// refuse is a code for everything, if it is not 0.
	refuse int
	// methods are those of the requests that came.
	methods chan string
}

func (k *kubelet) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	k.methods <- r.Method + " " + r.URL.Path + " " + r.Header.Get("Authorization")
	overWebSocket := strings.EqualFold(r.Header.Get("Upgrade"), "websocket")
	switch {
	case k.refuse != 0:
		http.Error(w, `{"kind":"Status","apiVersion":"v1","status":"Failure","message":"no","code":403}`, k.refuse)
	case overWebSocket && k.webSocket:
		// As the API server does: what comes over a WebSocket goes on over SPDY.
		behind := httptest.NewServer(http.HandlerFunc(k.forward))
		defer behind.Close()
		location, err := url.Parse(behind.URL)
		if err != nil {
			panic(err)
		}
		tunnel.NewTunnelingHandler(proxy.NewUpgradeAwareHandler(location, nil, false, true, refuser{})).ServeHTTP(w, r)
	case overWebSocket:
		http.Error(w, "what is that?", http.StatusBadRequest)
	default:
		k.forward(w, r)
	}
}

// refuser answers what cannot be passed on.
type refuser struct{}

func (refuser) Error(w http.ResponseWriter, _ *http.Request, err error) {
	http.Error(w, err.Error(), http.StatusBadGateway)
}

// forward joins the streams of one connection with one to the address.
func (k *kubelet) forward(w http.ResponseWriter, r *http.Request) {
	w.Header().Set(httpstream.HeaderProtocolVersion, r.Header.Get(httpstream.HeaderProtocolVersion))
	streams := make(chan httpstream.Stream, 2)
	conn := spdy.NewResponseUpgrader().UpgradeResponse(w, r, func(s httpstream.Stream, _ <-chan struct{}) error {
		streams <- s
		return nil
	})
	if conn == nil {
		return
	}
	defer conn.Close()
	var data, trouble httpstream.Stream
	for data == nil || trouble == nil {
		select {
		case s := <-streams:
			if s.Headers().Get(corev1.StreamType) == corev1.StreamTypeError {
				trouble = s
			} else if s.Headers().Get(corev1.PortHeader) == "9082" {
				data = s
			}
		case <-conn.CloseChan():
			return
		}
	}
	target, err := net.Dial("tcp", k.to)
	if err != nil {
		_, _ = io.WriteString(trouble, "dial localhost:9082: connection refused") // as kubelets do
		_, _ = trouble.Close(), data.Close()
		<-conn.CloseChan()
		return
	}
	defer target.Close()
	go func() { _, _ = io.Copy(target, data) }() // ends with the connection
	_, _ = io.Copy(data, target)
	_, _ = trouble.Close(), data.Close()
	<-conn.CloseChan()
}

// serve runs an API server with that kubelet, and gives one that asks it.
func (k *kubelet) serve(t *testing.T) *Asker {
	t.Helper()
	k.methods = make(chan string, 10)
	server := httptest.NewTLSServer(k)
	t.Cleanup(server.Close)
	config := &rest.Config{Host: server.URL, BearerToken: "secret", TLSClientConfig: rest.TLSClientConfig{Insecure: true}}
	return &Asker{Pods: &pods{all: []corev1.Pod{pod("a")}}, Dialer: &Forwarder{Config: config}, Namespace: "fairlead-system", Timeout: patience}
}

func TestForward(t *testing.T) {
	for name, test := range map[string]struct {
		webSocket bool
		methods   []string
	}{
		"over a WebSocket":             {true, []string{http.MethodGet}},
		"over SPDY, if that is no way": {false, []string{http.MethodGet, http.MethodPost}},
	} {
		t.Run(name, func(t *testing.T) {
			server := httptest.NewServer(replica(t, "one", nil))
			defer server.Close()
			k := &kubelet{to: server.Listener.Addr().String(), webSocket: test.webSocket}
			got, err := k.serve(t).Ask(t.Context(), publish.HeldQuery{Services: []string{"shop/arith"}})
			if err != nil || len(got.Held) != 1 || got.Held[0].Replica != "one" || len(got.Held[0].Clients) != 1 {
				t.Fatalf("%+v, %v", got, err)
			}
			for _, method := range test.methods {
				if came := <-k.methods; came != method+" /api/v1/namespaces/fairlead-system/pods/a/portforward Bearer secret" {
					t.Errorf("came %q", came)
				}
			}
			if len(k.methods) > 0 {
				t.Errorf("and another %s", <-k.methods)
			}
		})
	}
}

func TestForwardFails(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed := taken.Addr().String()
	if err := taken.Close(); err != nil {
		t.Fatal(err)
	}
	for _, overWebSocket := range []bool{true, false} {
		k := &kubelet{to: closed, webSocket: overWebSocket}
		got, err := k.serve(t).Ask(t.Context(), publish.HeldQuery{})
		if err != nil || len(got.Failed) != 1 || !strings.Contains(got.Failed[0].Why, "dial localhost:9082: connection refused") {
			t.Errorf("nobody listens: %+v, %v", got, err)
		}
	}
	var forbidden *ForbiddenError
	if _, err := (&kubelet{refuse: http.StatusForbidden}).serve(t).Ask(t.Context(), publish.HeldQuery{}); !errors.As(err, &forbidden) ||
		*forbidden != (ForbiddenError{"create", "pods/portforward", "fairlead-system"}) {
		t.Errorf("without the right: %v", err)
	}
	got, err := (&kubelet{refuse: http.StatusNotFound}).serve(t).Ask(t.Context(), publish.HeldQuery{})
	if err != nil || len(got.Failed) != 1 || !strings.Contains(got.Failed[0].Why, "unable to upgrade connection") {
		t.Errorf("without the Pod: %+v, %v", got, err)
	}
}

// TestForwardIsBounded: an API server that takes connections and says nothing, by
// way of either protocol.
func TestForwardIsBounded(t *testing.T) {
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	f := &Forwarder{Config: &rest.Config{Host: "http://" + silent.Addr().String()}}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		_, err := f.Dial(ctx, "fairlead-system", "a", 9082)
		ended <- err
	}()
	conn, err := silent.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}
