// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"errors"
	"strings"

	"github.com/fairlead/fairlead/controllers/registry/count"
	"github.com/fairlead/fairlead/controllers/registry/publish"
	"github.com/fairlead/fairlead/controllers/registry/serve"
	"github.com/fairlead/fairlead/internal/compile"
)

// registryPort names the port of the operator's own Service at which replicas
// serve the registry.
const registryPort = "registry"

// counting counts clients over all replicas.
type counting struct {
	asker   *count.Asker
	counter *count.Counter
}

// newCounting makes the parts. It touches no network.
func newCounting(o *Options, secure *security, publisher *publish.Controller, endpoint *serve.Endpoint, may func() bool) (*counting, error) {
	log := o.Log.WithName("count")
	asker, err := count.NewAsker(log)
	if err != nil {
		return nil, err
	}
	if o.RegistryTLS != TLSNone {
		asker.Secure(secure.peerTLS, o.TokenFile)
	}
	peers := o.Peers
	if peers == nil {
		namespace, name, _ := strings.Cut(o.RegistryService, "/")
		own := compile.Key{Namespace: namespace, Name: name}
		peers = func() []string { return publisher.Addresses(own, registryPort) }
	}
	counter, err := count.New(count.Config{
		Replica: o.Identity, Local: endpoint.Acks, Digest: endpoint.Digest, Peers: peers, Ask: asker.Ask, Keep: asker.Keep,
		May: may, Tell: publisher.Count, Interval: o.CountInterval, Metrics: o.Metrics, Log: log,
	})
	if err != nil {
		return nil, errors.Join(err, asker.Close())
	}
	return &counting{asker, counter}, nil
}

// Start counts until ctx ends.
func (c *counting) Start(ctx context.Context) error {
	return errors.Join(c.counter.Start(ctx), c.asker.Close())
}
