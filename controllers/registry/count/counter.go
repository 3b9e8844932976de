// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package count

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/fairlead/fairlead/internal/compile"
	"github.com/fairlead/fairlead/internal/publish"
	"github.com/fairlead/fairlead/rpcruntime/policy"
)

// Config sets up a Counter.
type Config struct {
	// Replica names this one, as its own answers do.
	Replica string
	// Local gives what this replica counts.
	Local func() []publish.AckCount
	// Digest gives what subscribers of a namespace are served now; false when there
	// is no such service.
	Digest func(service string, role policy.Role, namespace string) (policy.Digest, bool)
	// Peers gives the addresses at which there are replicas, this one or not.
	Peers func() []string
	// Ask asks the replica at an address, and tells it what all had together in the
	// last round.
	Ask func(ctx context.Context, address string, all publish.Totals) (*publish.SummaryReply, error)
	// Keep is told which addresses there are, after each round of asking.
	Keep func(addresses []string)
	// May says whether this replica writes statuses.
	May func() bool
	// Tell gets each census. It must not block.
	Tell func(compile.Census)
	// Interval is between two rounds; 0 means 2 s. Timeout bounds one answer; 0
	// means 2 s.
	Interval, Timeout time.Duration
	// Metrics is where counters are registered.
	Metrics prometheus.Registerer
	// Log gets what fails. The zero Logger discards.
	Log logr.Logger
}

// maxReplicas bounds how many are asked. Whoever can make EndpointSlices of the
// operator's Service could name any number.
const maxReplicas = 64

// Counter counts clients over all replicas.
type Counter struct {
	cfg         Config
	unreachable prometheus.Gauge
	failed      prometheus.Counter
	// told: the last census said something. The loop's.
	told bool
	// all is what all replicas had in the last round; zero if not all of them said
	// so. The loop's.
	all publish.Totals
}

// New makes a Counter. It does nothing before Start.
func New(cfg Config) (*Counter, error) {
	cfg.Interval, cfg.Timeout = cmp.Or(cfg.Interval, 2*time.Second), cmp.Or(cfg.Timeout, 2*time.Second)
	c := &Counter{
		cfg: cfg,
		unreachable: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "fairlead_replicas_unreachable",
			Help: "Replicas that did not tell the writer of statuses their counts in the last round, itself included; while it is not 0 no number of clients is written.",
		}),
		failed: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "fairlead_replica_summary_failures_total", Help: "Times that a replica did not tell its counts when it was asked.",
		}),
	}
	for _, m := range []prometheus.Collector{c.unreachable, c.failed} {
		if err := cfg.Metrics.Register(m); err != nil {
			return nil, fmt.Errorf("count: %w", err)
		}
	}
	return c, nil
}

// Start counts until ctx ends.
func (c *Counter) Start(ctx context.Context) error {
	ticker := time.NewTicker(c.cfg.Interval)
	defer ticker.Stop()
	for {
		c.round(ctx)
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// round counts once, if that is this replica's business.
func (c *Counter) round(ctx context.Context) {
	if !c.cfg.May() {
		if c.told {
			c.told, c.all = false, publish.Totals{}
			c.unreachable.Set(0)
			c.cfg.Tell(compile.Census{})
		}
		return
	}
	peers := c.cfg.Peers()
	replies, missing := c.ask(ctx, peers)
	c.cfg.Keep(peers)
	if ctx.Err() != nil {
		return
	}
	c.unreachable.Set(float64(missing))
	c.told, c.all = true, totals(replies, missing == 0)
	c.cfg.Tell(c.census(replies, missing == 0))
}

// ask asks all at once, this one included: there are few replicas.
func (c *Counter) ask(ctx context.Context, peers []string) (replies map[string]*publish.SummaryReply, missing int) {
	replies = map[string]*publish.SummaryReply{c.cfg.Replica: {Counts: c.cfg.Local()}}
	var mu sync.Mutex // guards what is returned, and found
	found := false
	if extra := len(peers) - maxReplicas; extra > 0 {
		peers, missing = peers[:maxReplicas], extra
	}
	var asking sync.WaitGroup
	for _, address := range peers {
		asking.Go(func() {
			ctx, cancel := context.WithTimeout(ctx, c.cfg.Timeout)
			defer cancel()
			reply, err := c.cfg.Ask(ctx, address, c.all)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				missing++
				c.failed.Inc()
				c.cfg.Log.V(1).Info("a replica does not tell its counts", "address", address, "reason", err.Error())
				return
			}
			replies[reply.Replica] = reply
			found = found || reply.Replica == c.cfg.Replica
		})
	}
	asking.Wait()
	if !found {
		// Where this one is not found, others may be missing, too.
		missing++
		c.cfg.Log.V(1).Info("this replica does not find itself among the replicas, so that clients cannot be counted", "addresses", peers)
	}
	return replies, missing
}

// totals adds up what all replicas have; it knows nothing if one has not said so.
func totals(replies map[string]*publish.SummaryReply, complete bool) (all publish.Totals) {
	for _, reply := range replies {
		if !complete || reply.Clients == nil {
			return publish.Totals{}
		}
		all.Clients += *reply.Clients
		all.Replicas++
	}
	return all
}

// kind is what clients have in common.
type kind struct {
	role              policy.Role
	namespace         string
	features, version string
	current           bool
}

// census adds up.
func (c *Counter) census(replies map[string]*publish.SummaryReply, complete bool) compile.Census {
	type tally struct{ number, rejected int }
	type view struct {
		service, namespace string
		role               policy.Role
	}
	served := map[view]policy.Digest{} // none is like no digest: nobody is current
	sums := map[compile.Key]map[kind]tally{}
	for _, reply := range replies {
		for _, n := range reply.Counts {
			namespace, name, found := strings.Cut(n.Service, "/")
			if !found {
				continue
			}
			v := view{n.Service, n.Namespace, n.Role}
			digest, known := served[v]
			if !known {
				digest, _ = c.cfg.Digest(n.Service, n.Role, n.Namespace)
				served[v] = digest
			}
			k := kind{n.Role, n.Namespace, n.Features, n.Version, !digest.IsZero() && digest == n.Digest}
			of := compile.Key{Namespace: namespace, Name: name}
			if sums[of] == nil {
				sums[of] = map[kind]tally{}
			}
			t := sums[of][k]
			sums[of][k] = tally{t.number + n.Clients, t.rejected + n.Rejected}
		}
	}
	out := compile.Census{Counted: true, Complete: complete, Of: make(map[compile.Key][]compile.Clients, len(sums))}
	for of, kinds := range sums {
		var all []compile.Clients
		for k, t := range kinds {
			clients := compile.Clients{
				Role: k.role, Namespace: k.namespace, Version: k.version, Current: k.current, Number: t.number, Rejected: t.rejected,
			}
			if k.features != "" {
				clients.Features = strings.Split(k.features, ",")
			}
			all = append(all, clients)
		}
		slices.SortFunc(all, compareClients)
		out.Of[of] = all
	}
	return out
}

func compareClients(a, b compile.Clients) int {
	current := 0
	if a.Current != b.Current {
		current = 1
		if b.Current {
			current = -1
		}
	}
	return cmp.Or(cmp.Compare(a.Role, b.Role), cmp.Compare(a.Namespace, b.Namespace), slices.Compare(a.Features, b.Features),
		cmp.Compare(a.Version, b.Version), current)
}
