// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package replicas

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"sync"

	corev1 "k8s.io/api/core/v1"
	constants "k8s.io/apimachinery/pkg/util/portforward"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/portforward"
	"k8s.io/client-go/transport/spdy"
	"k8s.io/client-go/transport/websocket"
	"k8s.io/streaming/pkg/httpstream"
	streamspdy "k8s.io/streaming/pkg/httpstream/spdy"
)

// Forwarder opens connections to ports of Pods, through the API server and the
// kubelet, as kubectl port-forward does: over a WebSocket, and where somebody on
// the way does not let that pass, over SPDY. It listens to nothing: what others
// on this machine could connect to would be theirs, too.
type Forwarder struct {
	// Config says where the API server is, and who asks.
	Config *rest.Config
}

// Dial connects to a port of a Pod, on the Pod's own loopback. A missing right is
// a *ForbiddenError.
func (f *Forwarder) Dial(ctx context.Context, namespace, pod string, port int32) (io.ReadWriteCloser, error) {
	type outcome struct {
		conn httpstream.Connection
		err  error
	}
	// Reading the answer to an upgrade takes no context. Whoever is too late
	// closes what it got.
	done := make(chan outcome)
	go func() {
		conn, err := f.upgrade(ctx, namespace, pod)
		select {
		case done <- outcome{conn, err}:
		case <-ctx.Done():
			if conn != nil {
				_ = conn.Close() // nobody is there to be told
			}
		}
	}()
	select {
	case got := <-done:
		if got.err != nil {
			return nil, got.err
		}
		return open(got.conn, port)
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// upgrade opens the connection that streams go through.
func (f *Forwarder) upgrade(ctx context.Context, namespace, pod string) (httpstream.Connection, error) {
	base, _, err := rest.DefaultServerUrlFor(f.Config)
	if err != nil {
		return nil, fmt.Errorf("the API server's address: %w", err)
	}
	target := base.JoinPath("api", "v1", "namespaces", namespace, "pods", pod, "portforward")
	conn, err := f.overWebSocket(ctx, target)
	if httpstream.IsUpgradeFailure(err) || httpstream.IsHTTPSProxyError(err) {
		return f.overSPDY(ctx, target, namespace)
	}
	return conn, err
}

func (f *Forwarder) overWebSocket(ctx context.Context, target *url.URL) (httpstream.Connection, error) {
	transport, holder, err := websocket.RoundTripperFor(f.Config)
	if err != nil {
		return nil, err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, target.String(), http.NoBody)
	if err != nil {
		return nil, err
	}
	conn, err := websocket.Negotiate(transport, holder, request, constants.WebsocketsSPDYTunnelingPortForwardV1)
	if err != nil {
		return nil, err
	}
	return streamspdy.NewClientConnection(portforward.NewTunnelingConnection("fairlead", conn))
}

func (f *Forwarder) overSPDY(ctx context.Context, target *url.URL, namespace string) (httpstream.Connection, error) {
	transport, upgrader, err := spdy.RoundTripperFor(f.Config)
	if err != nil {
		return nil, err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, target.String(), http.NoBody)
	if err != nil {
		return nil, err
	}
	said := &answered{RoundTripper: transport}
	conn, _, err := spdy.NegotiateStreaming(upgrader, &http.Client{Transport: said}, request, portforward.PortForwardProtocolV1Name)
	if err != nil && said.code == http.StatusForbidden {
		return nil, &ForbiddenError{Verb: "create", Resource: resourceForward, Namespace: namespace}
	}
	return conn, err
}

// answered notes the code of an answer, which is not in the error that comes of
// it.
type answered struct {
	http.RoundTripper
	code int
}

// RoundTrip asks.
func (a *answered) RoundTrip(r *http.Request) (*http.Response, error) {
	response, err := a.RoundTripper.RoundTrip(r)
	if err == nil {
		a.code = response.StatusCode
	}
	return response, err
}

// maxTrouble bounds what is read of a kubelet's reason.
const maxTrouble = 1 << 10

// open makes the two streams of one forwarded connection: its data, and the
// reason why there is none.
func open(conn httpstream.Connection, port int32) (io.ReadWriteCloser, error) {
	headers := http.Header{}
	headers.Set(corev1.PortHeader, strconv.Itoa(int(port)))
	headers.Set(corev1.PortForwardRequestIDHeader, "0")
	headers.Set(corev1.StreamType, corev1.StreamTypeError)
	trouble, err := conn.CreateStream(headers)
	if err == nil {
		err = trouble.Close() // nothing is written there
	}
	var data httpstream.Stream
	if err == nil {
		headers.Set(corev1.StreamType, corev1.StreamTypeData)
		data, err = conn.CreateStream(headers)
	}
	if err != nil {
		_ = conn.Close() // the first error is the one that counts
		return nil, fmt.Errorf("forwarding port %d: %w", port, err)
	}
	return &forwarded{conn: conn, data: data, trouble: trouble}, nil
}

// forwarded is one forwarded connection. Read has one user at a time, and so has
// Write; Close may be called at any time, and ends both.
type forwarded struct {
	conn          httpstream.Connection
	data, trouble httpstream.Stream
	some          bool // something was read
	once          sync.Once
	closed        error
}

func (f *forwarded) Write(p []byte) (int, error) { return f.data.Write(p) }

// Read reads what the Pod sends. If that is nothing, the error says why.
func (f *forwarded) Read(p []byte) (int, error) {
	n, err := f.data.Read(p)
	f.some = f.some || n > 0
	if err == nil || f.some {
		return n, err
	}
	reason, _ := io.ReadAll(io.LimitReader(f.trouble, maxTrouble)) // what there is of it
	if reason = bytes.TrimSpace(reason); len(reason) > 0 {
		return n, errors.New(string(reason))
	}
	return n, err
}

// Close ends the connection.
func (f *forwarded) Close() error {
	f.once.Do(func() { f.closed = f.conn.Close() })
	return f.closed
}
