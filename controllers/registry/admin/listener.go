// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/fairlead/fairlead/controllers/registry/serve"
	"github.com/fairlead/fairlead/internal/publish"
	"github.com/fairlead/fairlead/rpcruntime/policy"
)

// What one request may take.
const (
	// maxAtOnce bounds how many answers are made at the same time; each goes
	// through all clients.
	maxAtOnce = 2
	// maxServices bounds the services that one request may name.
	maxServices = 100
	// maxHeaders is in bytes, the line with the query included.
	maxHeaders   = 16 << 10
	readTimeout  = 5 * time.Second
	writeTimeout = 15 * time.Second
	// closeTimeout bounds how long the end waits for answers that are being written.
	closeTimeout = time.Second
)

// PathClients is where clients are asked for.
const PathClients = "/clients"

// Config sets up a Listener.
type Config struct {
	// Address to listen on, host:port, with a host that is loopback.
	Address string
	// Held says what clients hold.
	Held func(publish.HeldQuery) publish.Held
	// Listening, if not nil, is told of the address once it is open.
	Listening func(net.Addr)
	// Metrics is where counters are registered.
	Metrics prometheus.Registerer
	// Log gets what happens. The zero Logger discards.
	Log logr.Logger
}

// Listener is the admin port.
type Listener struct {
	cfg      Config
	requests *prometheus.CounterVec
	// answering has room for maxAtOnce.
	answering chan struct{}
}

// Check says what is wrong with an address to listen on.
func Check(address string) error {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return fmt.Errorf("admin address %q is not host:port: %w", address, err)
	}
	if !serve.Loopback(host) {
		return fmt.Errorf("admin address %q can be reached from other machines, and nobody is asked there who they are: bind 127.0.0.1, "+
			"and use kubectl port-forward", address)
	}
	return nil
}

// New makes a Listener. It opens nothing.
func New(cfg Config) (*Listener, error) {
	if err := Check(cfg.Address); err != nil {
		return nil, err
	}
	l := &Listener{
		cfg: cfg, answering: make(chan struct{}, maxAtOnce),
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "fairlead_admin_requests_total", Help: "Requests to the admin port, by the status code of the answer.",
		}, []string{"code"}),
	}
	if err := cfg.Metrics.Register(l.requests); err != nil {
		return nil, fmt.Errorf("admin: %w", err)
	}
	return l, nil
}

// Start listens and answers until ctx ends.
func (l *Listener) Start(ctx context.Context) error {
	var lc net.ListenConfig
	listener, err := lc.Listen(ctx, "tcp", l.cfg.Address)
	if err != nil {
		return fmt.Errorf("admin: %w", err)
	}
	server := &http.Server{
		Handler: l, ReadHeaderTimeout: readTimeout, ReadTimeout: readTimeout, WriteTimeout: writeTimeout, IdleTimeout: readTimeout,
		MaxHeaderBytes: maxHeaders,
	}
	// Each request has a connection of its own, so that none is kept for nothing.
	server.SetKeepAlivesEnabled(false)
	served := make(chan error, 1) // has room for Serve's result
	go func() { served <- server.Serve(newBounded(listener)) }()
	l.cfg.Log.Info("the admin port is open", "address", listener.Addr().String())
	if l.cfg.Listening != nil {
		l.cfg.Listening(listener.Addr())
	}
	select {
	case err = <-served:
		return fmt.Errorf("admin: %w", err)
	case <-ctx.Done():
	}
	closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTimeout)
	defer cancel()
	if server.Shutdown(closing) != nil {
		_ = server.Close() // whoever is in the middle of an answer does without the rest
	}
	if err := <-served; !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("admin: %w", err)
	}
	return nil
}

// ServeHTTP answers one request.
func (l *Listener) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	code, body := l.answer(r)
	l.requests.WithLabelValues(strconv.Itoa(code)).Inc()
	text, err := json.Marshal(body)
	if err != nil {
		l.cfg.Log.Error(err, "an answer of the admin port cannot be encoded")
		code, text = http.StatusInternalServerError, nil
	}
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	if code == http.StatusMethodNotAllowed {
		h.Set("Allow", http.MethodGet)
	}
	if code == http.StatusServiceUnavailable {
		h.Set("Retry-After", "1")
	}
	w.WriteHeader(code)
	_, _ = w.Write(append(text, '\n')) // who has gone needs no answer
}

// refusal is the body of an answer that is none.
type refusal struct {
	Error string `json:"error"`
}

func (l *Listener) answer(r *http.Request) (code int, body any) {
	switch {
	case !serve.Loopback(hostOf(r.Host)):
		return http.StatusForbidden, refusal{fmt.Sprintf("the host %.100q is not this machine: the admin port is for port-forward", r.Host)}
	case r.URL.Path != PathClients:
		return http.StatusNotFound, refusal{fmt.Sprintf("there is no %.100q here, only %s", r.URL.Path, PathClients)}
	case r.Method != http.MethodGet:
		return http.StatusMethodNotAllowed, refusal{"nothing can be changed here: use GET"}
	}
	query, err := queryOf(r)
	if err != nil {
		return http.StatusBadRequest, refusal{err.Error()}
	}
	select {
	case l.answering <- struct{}{}:
		defer func() { <-l.answering }()
		return http.StatusOK, l.cfg.Held(query)
	default:
		return http.StatusServiceUnavailable, refusal{fmt.Sprintf("%d answers are being made already: try again", maxAtOnce)}
	}
}

// queryOf reads what is asked for. What is not known is refused: an answer to
// another question than the one that was meant would be believed.
func queryOf(r *http.Request) (q publish.HeldQuery, err error) {
	for key, values := range r.URL.Query() {
		switch key {
		case "service":
			q.Services = values
		case "namespace":
			q.Namespace = values[0]
			if len(values) > 1 {
				return q, fmt.Errorf("namespace stands %d times: one will do", len(values))
			}
		default:
			return q, fmt.Errorf("parameter %.100q is neither service nor namespace", key)
		}
	}
	if len(q.Services) > maxServices {
		return q, fmt.Errorf("%d services, more than %d: ask for a namespace, or several times", len(q.Services), maxServices)
	}
	for _, name := range q.Services {
		if err := policy.ValidateServiceName(name); err != nil {
			return q, err
		}
	}
	return q, nil
}

// hostOf takes the port off, and the brackets of an address without one.
func hostOf(hostport string) string {
	if host, _, err := net.SplitHostPort(hostport); err == nil {
		return host
	}
	return strings.Trim(hostport, "[]")
}
