// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package explain

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"

	"k8s.io/apimachinery/pkg/util/duration"

	"github.com/fairlead/fairlead/internal/publish"
	"github.com/fairlead/fairlead/rpcruntime/policy"
)

// Told is what replicas of the operator said, or why they did not.
type Told struct {
	// Held has one entry for each replica that answered.
	Held []publish.Held
	// Missing are replicas that did not.
	Missing []Missing
	// NotAsked says why nobody could be asked; empty when somebody was.
	NotAsked string
}

// Missing is a replica whose clients are not known.
type Missing struct {
	Replica string `json:"replica"`
	Why     string `json:"why"`
}

// mostWithout bounds how many clients are listed.
const mostWithout = 10

// Callers are the running callers of one namespace, by what the operator's
// replicas say.
type Callers struct {
	Namespace string `json:"namespace"`
	// Have is how many have the policy that is explained, of Total.
	Have  int `json:"have"`
	Total int `json:"total"`
	// Replicas is how many were counted. Missing are the others: while there are
	// any, the numbers may be too low.
	Replicas int       `json:"replicas"`
	Missing  []Missing `json:"missing"`
	// Without are those that do not have it, mostWithout at most; More is how many
	// are not listed.
	Without []Without `json:"without"`
	More    int       `json:"more,omitempty"`
	// Otherwise are replicas that serve another policy than the one that is
	// explained: they have not seen the newest objects yet, or others than these.
	Otherwise []string `json:"otherwise,omitempty"`
}

// Without is a client that does not have what it should.
type Without struct {
	Service string `json:"service"`
	// Role is Caller or Server.
	Role      policy.Role `json:"role"`
	Namespace string      `json:"namespace,omitempty"`
	// Pod is empty for one that is in none; then Address says where it calls from.
	Pod     string `json:"pod,omitempty"`
	Address string `json:"address,omitempty"`
	App     string `json:"app,omitempty"`
	Version string `json:"version,omitempty"`
	// Digest is of what it has; empty for nothing.
	Digest string `json:"digest,omitempty"`
	// Since is when it said so first, or came.
	Since time.Time `json:"since"`
	// Rejected is why it did not take the newest, if it said so.
	Rejected string `json:"rejected,omitempty"`
	// Replica is the one that it is connected to.
	Replica string `json:"replica"`

	// at is when it was so, by the clock that Since is of.
	at time.Time
}

// subscriber is one subscription of a client.
type subscriber struct {
	publish.Holding
	client  *publish.HeldClient
	replica string
	at      time.Time
	// served is what the replica serves such a client.
	served publish.Served
}

// instance is what tells clients apart. What it made up itself counts only
// within what it may have proven.
type instance struct{ namespace, podUID, name string }

// instanceOf says which client it is; false for one that does not say.
func instanceOf(c *publish.HeldClient) (i instance, known bool) {
	return instance{c.Namespace, c.PodUID, c.Instance}, c.Instance != ""
}

// subscribers gives all subscriptions once. A client that moves between replicas
// may be seen at two of them, and is where it came last.
func subscribers(held []publish.Held) (all []subscriber) {
	type place struct {
		replica int
		since   time.Time
	}
	newest := map[instance]place{}
	for r := range held {
		for c := range held[r].Clients {
			client := &held[r].Clients[c]
			if i, known := instanceOf(client); known && !client.Since.Before(newest[i].since) {
				newest[i] = place{r, client.Since}
			}
		}
	}
	type view struct {
		service, namespace string
		role               policy.Role
	}
	for r := range held {
		served := map[view]publish.Served{}
		for _, v := range held[r].Served {
			served[view{v.Service, v.Namespace, v.Role}] = v
		}
		for c := range held[r].Clients {
			client := &held[r].Clients[c]
			if i, known := instanceOf(client); known && newest[i].replica != r {
				continue
			}
			for _, h := range client.Holds {
				v := view{h.Service, "", h.Role}
				if h.Role == policy.Caller {
					v.namespace = client.Namespace
				}
				all = append(all, subscriber{h, client, held[r].Replica, held[r].At, served[v]})
			}
		}
	}
	return all
}

func (s *subscriber) without() Without {
	w := Without{
		Service: s.Service, Role: s.Role, Namespace: plain(s.client.Namespace), Pod: plain(s.client.Pod), App: plain(s.client.App),
		Version: plain(s.client.Version), Digest: short(s.Digest), Since: s.Since, Rejected: plain(s.Rejected), Replica: s.replica, at: s.at,
	}
	if w.Pod == "" {
		w.Address = s.client.Address
	}
	return w
}

// plain takes out what a client may have put into a text to steer a terminal.
func plain(text string) string {
	return strings.TrimSpace(strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return ' '
	}, text))
}

// short gives what people see of a digest.
func short(digest string) string {
	d, err := policy.ParseDigest(digest)
	if err != nil || d.IsZero() {
		return ""
	}
	return d.Short()
}

// boundedWithout sorts, those first that have been so for longest, and leaves
// out what is too much.
func boundedWithout(all []Without) (listed []Without, more int) {
	slices.SortFunc(all, func(a, b Without) int {
		return cmp.Or(a.Since.Compare(b.Since), cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Pod, b.Pod), cmp.Compare(a.Address, b.Address))
	})
	n := min(len(all), mostWithout)
	return listOf(all[:n]), len(all) - n
}

// missing are the replicas that did not say everything.
func (t *Told) missing() []Missing {
	missing := listOf(t.Missing)
	for i := range t.Held {
		if n := t.Held[i].LeftOut; n > 0 {
			missing = append(missing, Missing{t.Held[i].Replica, fmt.Sprintf("left out %d subscriptions, for there are too many", n)})
		}
	}
	return missing
}

// Count puts what replicas said beside the policy in force.
func (c *Call) Count(t *Told) {
	if t.NotAsked != "" {
		c.NotAsked = t.NotAsked
		return
	}
	out := &Callers{Replicas: len(t.Held), Missing: t.missing(), Namespace: c.Caller.Namespace}
	var without []Without
	for _, s := range subscribers(t.Held) {
		if s.Service != c.Service || s.Role != policy.Caller || s.client.Namespace != c.Caller.Namespace {
			continue
		}
		// What is compiled here counts. Where that is not known, for want of rights,
		// what the replica serves does.
		want := cmp.Or(c.policyDigest, s.served.Policy)
		out.Total++
		if s.Policy != "" && s.Policy == want {
			out.Have++
		} else {
			without = append(without, s.without())
		}
		if s.served.Policy != want && !slices.Contains(out.Otherwise, s.replica) {
			out.Otherwise = append(out.Otherwise, s.replica)
		}
	}
	slices.Sort(out.Otherwise)
	out.Without, out.More = boundedWithout(without)
	c.Callers = out
}

// Count puts what replicas said in the place of counts that the operator wrote
// down. If one of them is missing, these stay.
func (s *Status) Count(t *Told) {
	s.Missing, s.NotAsked = t.missing(), t.NotAsked
	if t.NotAsked != "" {
		return
	}
	complete := len(s.Missing) == 0
	counts, without := map[string]*Clients{}, map[string][]Without{}
	for _, sub := range subscribers(t.Held) {
		if counts[sub.Service] == nil {
			counts[sub.Service] = &Clients{}
		}
		counts[sub.Service].Total++
		if sub.Current {
			counts[sub.Service].Current++
		} else {
			without[sub.Service] = append(without[sub.Service], sub.without())
		}
	}
	for i := range s.Services {
		v := &s.Services[i]
		if complete {
			v.Clients = cmp.Or(counts[v.Service], &Clients{})
		}
		if missed := without[v.Service]; len(missed) > 0 {
			v.Without, v.More = boundedWithout(missed)
		}
	}
}

// row says who has what, for people.
func (w *Without) row() string {
	note := ""
	if w.Rejected != "" {
		note = "rejected the newest: " + w.Rejected
	}
	return row(w.name(), cmp.Or(w.Digest, "nothing"), duration.HumanDuration(max(0, w.at.Sub(w.Since))), note)
}

// name says who it is.
func (w *Without) name() string {
	name := cmp.Or(w.Pod, w.Address)
	if w.Namespace != "" {
		name = w.Namespace + "/" + name
	}
	if w.App != "" {
		name += " (" + w.App + ")"
	}
	return name
}

// head says how many have it, in two cells.
func (c *Callers) head() string {
	text := fmt.Sprintf("in %s have this policy, by %s of the operator", c.Namespace, number(c.Replicas, "replica"))
	if len(c.Missing) > 0 {
		text += "; there may be more"
	}
	return row("callers", fmt.Sprintf("%d of %d", c.Have, c.Total), text)
}

// write lists those that do not have it, and what is not known.
func (c *Callers) write(p *printer) {
	var rows []string
	for i := range c.Without {
		rows = append(rows, c.Without[i].row())
	}
	p.section(row("WITHOUT THIS POLICY", "HAS", "FOR", "NOTE"), rows)
	if c.More > 0 {
		p.linef("and %d more", c.More)
	}
	if len(c.Otherwise) > 0 {
		p.linef("")
	}
	for _, r := range c.Otherwise {
		p.linef("NOT YET    replica %s serves another policy: it has not seen the newest objects, or more than you may read", r)
	}
	p.missing(c.Missing, "")
}

// missing says which replicas were not counted, and what follows.
func (p *printer) missing(all []Missing, so string) {
	if len(all) > 0 {
		p.linef("")
	}
	for _, m := range all {
		p.linef("NOT KNOWN  the clients of replica %s: it %s%s", m.Replica, m.Why, so)
	}
}

// notAsked says why no replica was asked, and whose counts stand there.
func (p *printer) notAsked(what, why string) {
	if why != "" {
		p.linef("")
		p.linef("NOT KNOWN  %s: %s; the count of clients is that of the status, as the operator last wrote it", what, why)
	}
}

func number(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
