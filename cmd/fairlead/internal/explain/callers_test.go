// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package explain

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/fairlead/fairlead/internal/publish"
	"github.com/fairlead/fairlead/rpcruntime/policy"
)

// at is when replicas were asked.
var at = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// digestOf gives a digest as replicas write it.
func digestOf(b byte) string { return policy.Digest{b, b, b, b}.String() }

// someone is a client in web that came a while before at, and holds something of
// shop/arith since half of that.
func someone(pod string, ago time.Duration, digest, policyDigest string) publish.HeldClient {
	return publish.HeldClient{
		Namespace: "web", Pod: pod, PodUID: "uid-" + pod, Instance: "i-" + pod, Address: "10.0.0.1:1", Since: at.Add(-ago), Version: "v1",
		Holds: []publish.Holding{{
			Service: "shop/arith", Role: policy.Caller, Digest: digest, Policy: policyDigest, Since: at.Add(-ago / 2), Current: digest == digestOf(1),
		}},
	}
}

// said is what one replica says: it serves digest 1 with policy 2.
func said(replica string, clients ...publish.HeldClient) publish.Held {
	return publish.Held{
		Replica: replica, At: at, Clients: clients,
		Served: []publish.Served{
			{Service: "shop/arith", Role: policy.Caller, Namespace: "web", Digest: digestOf(1), Policy: digestOf(2)},
			{Service: "shop/arith", Role: policy.Server, Digest: digestOf(7), Policy: digestOf(7)},
		},
	}
}

func asked() *Call {
	return &Call{Caller: Name{"web", "checkout"}, Service: "shop/arith", Method: "Arith.Mul", policyDigest: digestOf(2), Subscription: Allowed}
}

func callText(t *testing.T, c *Call) string {
	t.Helper()
	var b bytes.Buffer
	if err := c.WriteText(&b); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestCallersAreCountedOnce(t *testing.T) {
	other := someone("other-1", time.Hour, digestOf(1), digestOf(2))
	other.Namespace = "other"
	server := someone("arith-1", time.Hour, digestOf(1), digestOf(2))
	server.Holds[0].Role = policy.Server
	elsewhere := someone("elsewhere", time.Hour, digestOf(1), digestOf(2))
	elsewhere.Holds[0].Service = "shop/ledger"
	older := someone("p", time.Hour, digestOf(1), digestOf(2))
	older.Instance = ""
	process := someone("p", time.Minute, digestOf(1), digestOf(2))
	process.Instance = "another"
	for _, test := range []struct {
		name        string
		held        []publish.Held
		have, total int
	}{
		{"nobody", []publish.Held{said("a")}, 0, 0},
		{"one", []publish.Held{said("a", someone("p", time.Hour, digestOf(1), digestOf(2)))}, 1, 1},
		{"others do not count", []publish.Held{said("a", other, server, elsewhere)}, 0, 0},
		{"other endpoints, the same policy", []publish.Held{said("a", someone("p", time.Hour, digestOf(9), digestOf(2)))}, 1, 1},
		{"an older policy", []publish.Held{said("a", someone("p", time.Hour, digestOf(1), digestOf(3)))}, 0, 1},
		{"nothing", []publish.Held{said("a", someone("p", time.Hour, "", ""))}, 0, 1},
		{"two replicas", []publish.Held{
			said("a", someone("p", time.Hour, digestOf(1), digestOf(2))), said("b", someone("q", time.Hour, digestOf(1), digestOf(2))),
		}, 2, 2},
		{"one that moves is where it came last", []publish.Held{
			said("a", someone("p", time.Hour, digestOf(1), digestOf(2))), said("b", someone("p", time.Minute, digestOf(3), digestOf(3))),
		}, 0, 1},
		{"and in the other order", []publish.Held{
			said("a", someone("p", time.Minute, digestOf(1), digestOf(2))), said("b", someone("p", time.Hour, digestOf(3), digestOf(3))),
		}, 1, 1},
		{"two processes of one Pod", []publish.Held{
			said("a", someone("p", time.Hour, digestOf(1), digestOf(2))), said("b", process),
		}, 2, 2},
		{"of an older client each connection counts", []publish.Held{said("a", older), said("b", older)}, 2, 2},
	} {
		c := asked()
		c.Count(&Told{Held: test.held})
		if c.Callers.Have != test.have || c.Callers.Total != test.total || c.Callers.Replicas != len(test.held) || len(c.Callers.Without) != test.total-test.have {
			t.Errorf("%s: %+v, want %d of %d", test.name, c.Callers, test.have, test.total)
		}
	}
}

func TestCallersText(t *testing.T) {
	late := someone("checkout-3", 10*time.Minute, digestOf(0xab), digestOf(0xab))
	late.App = "checkout"
	late.Holds[0].Rejected = "unknown\tbalancer\x1b[2J\n"
	empty := someone("", 20*time.Minute, "", "")
	c := asked()
	c.Digest = "01010101"
	c.Count(&Told{
		Held:    []publish.Held{said("a", someone("checkout-1", time.Hour, digestOf(1), digestOf(2)), late), said("b", empty)},
		Missing: []Missing{{"fairlead-manager-3", "is not ready"}},
	})
	text := callText(t, c)
	for _, want := range []string{
		"callers   1 of 3         in web have this policy, by 2 replicas of the operator; there may be more\n",
		"WITHOUT THIS POLICY         HAS        FOR   NOTE\nweb/10.0.0.1:1              nothing    10m\nweb/checkout-3 (checkout)   abababab   5m    rejected the newest: unknown balancer [2J\n",
		"NOT KNOWN  the clients of replica fairlead-manager-3: it is not ready\n",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
	var back struct {
		Callers Callers
	}
	if b, err := json.Marshal(c); err != nil || json.Unmarshal(b, &back) != nil || back.Callers.Total != 3 || back.Callers.Without[1].Digest != "abababab" ||
		back.Callers.Without[0].Address != "10.0.0.1:1" || back.Callers.Without[1].Address != "" || back.Callers.Without[1].Replica != "a" {
		t.Errorf("as JSON: %+v", back)
	}
}

// TestCallersAreBounded: the list is, and the counts are not; those that lack it
// for longest come first.
func TestCallersAreBounded(t *testing.T) {
	var clients []publish.HeldClient
	for i := range mostWithout + 5 {
		clients = append(clients, someone(fmt.Sprintf("p-%02d", i), time.Duration(i+1)*time.Minute, digestOf(3), digestOf(3)))
	}
	c := asked()
	c.Count(&Told{Held: []publish.Held{said("a", clients...)}})
	if len(c.Callers.Without) != mostWithout || c.Callers.More != 5 || c.Callers.Total != mostWithout+5 || c.Callers.Without[0].Pod != "p-14" {
		t.Errorf("%+v", c.Callers)
	}
	if text := callText(t, c); !strings.Contains(text, "\nand 5 more\n") {
		t.Errorf("in\n%s", text)
	}
	full := said("a")
	full.LeftOut = 7
	c.Count(&Told{Held: []publish.Held{full}})
	if text := callText(t, c); !strings.Contains(text, "it left out 7 subscriptions") || !strings.Contains(text, "there may be more") {
		t.Errorf("in\n%s", text)
	}
}

// TestReplicaServesOtherwise: the policy that is explained is the newest one, and
// not what a replica still serves; without the right to read policies, what it
// serves has to do.
func TestReplicaServesOtherwise(t *testing.T) {
	held := []publish.Held{said("a", someone("p", time.Hour, digestOf(1), digestOf(2)))}
	c := asked()
	c.policyDigest = digestOf(4)
	c.Count(&Told{Held: held})
	if c.Callers.Have != 0 || len(c.Callers.Otherwise) != 1 || !strings.Contains(callText(t, c), "NOT YET    replica a serves another policy") {
		t.Errorf("%+v\n%s", c.Callers, callText(t, c))
	}
	c.policyDigest = ""
	c.Count(&Told{Held: held})
	if c.Callers.Have != 1 || len(c.Callers.Otherwise) != 0 {
		t.Errorf("%+v", c.Callers)
	}
}

func TestNotAsked(t *testing.T) {
	c := asked()
	c.Clients = &Clients{11, 12}
	c.Count(&Told{NotAsked: "you may not list pods in namespace fairlead-system"})
	text := callText(t, c)
	for _, want := range []string{
		"clients   11 of 12", "NOT KNOWN  which callers have this policy, and which do not: you may not list pods in namespace fairlead-system; " +
			"the count of clients is that of the status, as the operator last wrote it\n",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
	if c.Callers != nil || strings.Contains(text, "\ncallers ") {
		t.Errorf("somebody was counted:\n%s", text)
	}
}

func TestStatusCountsByReplicas(t *testing.T) {
	written := func() *Status {
		return &Status{Services: []ServiceStatus{{Service: "shop/arith", Clients: &Clients{5, 6}}, {Service: "shop/ledger", Clients: &Clients{1, 1}}}}
	}
	server := someone("arith-1", time.Hour, digestOf(9), digestOf(9))
	server.Holds[0].Role = policy.Server
	held := []publish.Held{said("a", someone("p", time.Hour, digestOf(1), digestOf(2)), server)}
	write := func(s *Status) string {
		var b bytes.Buffer
		if err := s.WriteText(&b, at); err != nil {
			t.Fatal(err)
		}
		return b.String()
	}

	s := written()
	s.Count(&Told{Held: held})
	text := write(s)
	if *s.Services[0].Clients != (Clients{1, 2}) || *s.Services[1].Clients != (Clients{}) {
		t.Errorf("counted %+v and %+v", s.Services[0].Clients, s.Services[1].Clients)
	}
	if !strings.Contains(text, "SERVICE      NOT CURRENT   HAS        FOR   NOTE\nshop/arith   web/arith-1   09090909   30m\n") {
		t.Errorf("got\n%s", text)
	}

	s = written()
	s.Count(&Told{Held: held, Missing: []Missing{{"b", "is not ready"}}})
	if text = write(s); *s.Services[0].Clients != (Clients{5, 6}) || !strings.Contains(text, "replica b: it is not ready; CLIENTS is what the operator last wrote") {
		t.Errorf("%+v\n%s", s.Services[0].Clients, text)
	}
	s = written()
	s.Count(&Told{NotAsked: "nobody is there"})
	if text = write(s); *s.Services[0].Clients != (Clients{5, 6}) || !strings.Contains(text, "which do not: nobody is there; the count") {
		t.Errorf("%+v\n%s", s.Services[0].Clients, text)
	}
}
