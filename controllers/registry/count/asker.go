// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package count

import (
	"context"
	"crypto/tls"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/go-logr/logr"

	"github.com/fairlead/fairlead/internal/publish"
	"github.com/fairlead/fairlead/rpcruntime"
	"github.com/fairlead/fairlead/rpcruntime/registry"
)

// registryService is what the registry is called as a service. No endpoint has
// that name: it is only ever called at an address.
const registryService = "fairlead/registry"

// Asker asks replicas for their counts.
type Asker struct {
	tls     func() *tls.Config     // nil for plaintext
	token   rpcruntime.TokenSource // nil for no proof
	runtime *rpcruntime.Runtime
	mu      sync.Mutex // guards clients
	clients map[string]*rpcruntime.Client
}

// NewAsker makes an Asker. It must be closed.
func NewAsker(log logr.Logger) (*Asker, error) {
	runtime, err := rpcruntime.New(rpcruntime.WithoutRegistry(), rpcruntime.WithCacheDir(""), rpcruntime.WithLogger(log))
	if err != nil {
		return nil, fmt.Errorf("count: %w", err)
	}
	return &Asker{runtime: runtime, clients: map[string]*rpcruntime.Client{}}, nil
}

// Secure says how connections are secured, as of the time at which each is made,
// and which file has the token that proves who asks. To be called before Ask.
func (a *Asker) Secure(tlsNow func() *tls.Config, tokenFile string) {
	a.tls, a.token = tlsNow, rpcruntime.TokenFile(tokenFile)
}

// Ask asks the replica at an address, after proving who asks, and tells it what
// all have together.
func (a *Asker) Ask(ctx context.Context, address string, all publish.Totals) (*publish.SummaryReply, error) {
	client := a.client(address)
	reply, err := a.ask(ctx, client, all)
	if err != nil {
		// The next one goes by what is to be believed then.
		a.drop(address, client)
	}
	return reply, err
}

func (a *Asker) ask(ctx context.Context, client *rpcruntime.Client, all publish.Totals) (*publish.SummaryReply, error) {
	if a.token != nil {
		token, err := a.token(ctx)
		if err != nil {
			return nil, err
		}
		proof := &registry.RenewRequest{Token: token}
		if _, err := rpcruntime.Call[registry.RenewReply](ctx, client, registry.Path+"."+registry.MethodRenew, proof); err != nil {
			return nil, err
		}
	}
	return rpcruntime.Call[publish.SummaryReply](ctx, client, registry.Path+"."+publish.MethodSummary, &publish.SummaryRequest{All: all})
}

func (a *Asker) drop(address string, client *rpcruntime.Client) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.clients[address] == client {
		delete(a.clients, address)
	}
	client.Close()
}

func (a *Asker) client(address string) *rpcruntime.Client {
	a.mu.Lock()
	defer a.mu.Unlock()
	client := a.clients[address]
	if client == nil {
		options := []rpcruntime.ClientOption{rpcruntime.Endpoints(address)}
		if a.tls != nil {
			options = append(options, rpcruntime.WithTLS(a.tls()))
		}
		client = a.runtime.NewClient(registryService, options...)
		a.clients[address] = client
	}
	return client
}

// Keep closes what leads to other addresses.
func (a *Asker) Keep(addresses []string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for address, client := range a.clients {
		if !slices.Contains(addresses, address) {
			client.Close()
			delete(a.clients, address)
		}
	}
}

// Close ends all connections.
func (a *Asker) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	return a.runtime.Close(ctx)
}
