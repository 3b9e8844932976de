// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package chart

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"helm.sh/helm/v3/pkg/action"
	"helm.sh/helm/v3/pkg/lint/support"
)

// aSwitch is a value that decides about objects, with what it takes to turn
// it on and off, and which objects are there only when it is on.
type aSwitch struct {
	name    string
	on, off values
	objects []string
}

var switches = []aSwitch{
	{"podDisruptionBudget", values{"podDisruptionBudget.enabled": true}, values{"podDisruptionBudget.enabled": false},
		[]string{"PodDisruptionBudget/fairlead-manager"}},
	{"serviceAccount", values{"serviceAccount.create": true}, values{"serviceAccount.create": false, "serviceAccount.name": "other"},
		[]string{"ServiceAccount/fairlead-manager"}},
	{"rbac", values{"rbac.create": true}, values{"rbac.create": false},
		[]string{"ClusterRole/fairlead-manager", "ClusterRoleBinding/fairlead-manager", "Role/fairlead-manager", "RoleBinding/fairlead-manager"}},
	{"rbac.aggregate", values{"rbac.aggregate": true}, values{"rbac.aggregate": false}, people()},
	{"admin", values{"admin.enabled": true}, values{"admin.enabled": false}, []string{"Role/fairlead-explain"}},
	{"metrics", values{"metrics.enabled": true}, values{"metrics.enabled": false}, []string{"Service/fairlead-metrics"}},
	{"metrics.serviceMonitor", values{"metrics.serviceMonitor.enabled": true}, values{"metrics.serviceMonitor.enabled": false},
		[]string{"ServiceMonitor/fairlead-manager"}},
	{"metrics.prometheusRule", values{"metrics.prometheusRule.enabled": true}, values{"metrics.prometheusRule.enabled": false},
		[]string{"PrometheusRule/fairlead-manager"}},
	{"networkPolicy", values{"networkPolicy.enabled": true}, values{"networkPolicy.enabled": false},
		[]string{"NetworkPolicy/fairlead-manager"}},
	{"certManager", values{"registry.tls.mode": "files", "registry.tls.certManager.enabled": true, "registry.tls.certManager.issuerRef.name": "ca"},
		values{"registry.tls.mode": "managed"}, []string{"Certificate/fairlead-registry"}},
	{"admission", values{"admission.enabled": true}, values{"admission.enabled": false}, admissionObjects()},
}

// people lists the roles for people.
func people() (out []string) {
	for _, kind := range []string{"rpcservice", "rpccallpolicy", "rpclimitpolicy"} {
		for _, role := range []string{"admin", "editor", "viewer"} {
			out = append(out, fmt.Sprintf("ClusterRole/fairlead-%s-%s", kind, role))
		}
	}
	return out
}

// always are the objects that no switch takes away.
var always = []string{"Deployment/fairlead-manager", "Service/fairlead-registry"}

// choose gives the values for a choice of switches, and the objects that are
// to follow.
func choose(on func(i int, s aSwitch) bool) (values, []string) {
	v, want := values{}, slices.Clone(always)
	chosen := map[string]bool{}
	for i, s := range switches {
		from := s.off
		if chosen[s.name] = on(i, s); chosen[s.name] {
			from = s.on
		}
		for path, value := range from {
			v[path] = value
		}
	}
	for _, s := range switches {
		switch {
		case !chosen[s.name]:
		case s.name == "metrics.serviceMonitor" && !chosen["metrics"]: // there is nothing to scrape
		case (s.name == "rbac.aggregate" || s.name == "admin") && !chosen["rbac"]:
		default:
			want = append(want, s.objects...)
		}
	}
	slices.Sort(want)
	return v, want
}

// choices are: each switch alone on, alone off, all, none, and some at random.
func choices(random int) []func(int, aSwitch) bool {
	out := []func(int, aSwitch) bool{
		func(int, aSwitch) bool { return true },
		func(int, aSwitch) bool { return false },
	}
	for n := range switches {
		out = append(out, func(i int, _ aSwitch) bool { return i == n }, func(i int, _ aSwitch) bool { return i != n })
	}
	dice := rand.New(rand.NewPCG(1, 2))
	for range random {
		bits := dice.Uint64()
		out = append(out, func(i int, _ aSwitch) bool { return bits>>i&1 == 1 })
	}
	return out
}

// TestSwitches renders with every switch both ways: exactly the objects that
// belong to what is on are there.
func TestSwitches(t *testing.T) {
	c := load(t, "fairlead")
	for _, choice := range choices(60) {
		v, want := choose(choice)
		for _, in := range []cluster{modern, oldest} {
			got, err := render(c, v, in)
			if err != nil {
				t.Fatalf("%s: %v", v, err)
			}
			if have := got.kinds(); !slices.Equal(have, want) {
				t.Errorf("%s, %s:\ngot  %s\nwant %s", in.version, v, have, want)
			}
		}
	}
}

// TestDefaults: what is on without a word said.
func TestDefaults(t *testing.T) {
	_, want := choose(func(_ int, s aSwitch) bool {
		return slices.Contains([]string{"podDisruptionBudget", "serviceAccount", "rbac", "rbac.aggregate", "admin", "metrics"}, s.name)
	})
	if got := mustRender(t, "fairlead", nil, oldest).kinds(); !slices.Equal(got, want) {
		t.Errorf("an old cluster:\ngot  %s\nwant %s", got, want)
	}
	want = append(want, admissionObjects()...)
	slices.Sort(want)
	if got := mustRender(t, "fairlead", nil, modern).kinds(); !slices.Equal(got, want) {
		t.Errorf("a cluster that serves the admission policy:\ngot  %s\nwant %s", got, want)
	}
}

// TestValuesRefused: the schema, kubeVersion and the templates refuse what
// makes no sense, and say what.
func TestValuesRefused(t *testing.T) {
	c := load(t, "fairlead")
	for _, test := range []struct {
		v    values
		in   cluster
		want string
	}{
		{values{"manager.replica": 3}, modern, "replica"},
		{values{"replicas": 3}, modern, "replicas"},
		{values{"manager.replicas": -1}, modern, "manager/replicas"},
		{values{"manager.log.level": "loud"}, modern, "manager/log/level"},
		{values{"registry.port": 443}, modern, "registry/port"},
		{values{"registry.tls.mode": "none"}, modern, "registry/tls/mode"},
		{values{"registry.drainTimeout": "10"}, modern, "registry/drainTimeout"},
		{values{"registry.advertiseAddresses": []any{"registry.example"}}, modern, "registry/advertiseAddresses"},
		{values{"image.digest": "sha256:12"}, modern, "image/digest"},
		{values{"admission.enabled": "sometimes"}, modern, "admission/enabled"},
		{values{"serviceAccount.create": false}, modern, "serviceAccount.name is needed"},
		{values{"registry.tls.certManager.enabled": true}, modern, "registry.tls.mode: files"},
		{values{"registry.tls.mode": "files", "registry.tls.certManager.enabled": true}, modern, "issuerRef.name is needed"},
		{nil, cluster{"v1.32.9", nil}, "kubeVersion: >=1.33.0"},
	} {
		if _, err := render(c, test.v, test.in); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s in %s: %v, want something about %q", test.v, test.in.version, err, test.want)
		}
	}
	if _, err := render(load(t, "fairlead-crds"), values{"forwardOnly": "yes"}, modern); err == nil {
		t.Error("fairlead-crds takes a text for forwardOnly")
	}
	// Vendors' builds have suffixes.
	if _, err := render(c, nil, cluster{"v1.33.1-gke.100", nil}); err != nil {
		t.Error(err)
	}
}

// TestLint: what helm lint says of the charts, warnings included.
func TestLint(t *testing.T) {
	for _, name := range []string{"fairlead-crds", "fairlead"} {
		lint := action.NewLint()
		lint.Strict, lint.Namespace = true, namespace
		for _, message := range lint.Run([]string{root("charts", name)}, nil).Messages {
			if message.Severity > support.InfoSev { // an icon is recommended
				t.Errorf("%s: %v", name, message)
			}
		}
	}
}

// TestNotes: what is printed fits the cluster and the values.
func TestNotes(t *testing.T) {
	for _, test := range []struct {
		v      values
		in     cluster
		says   string
		silent string
	}{
		{nil, modern, "rpc.fairlead.dev/config=mount", "DOES NOT SERVE"},
		{nil, oldest, "DOES NOT SERVE RPCService", "config=mount"},
		{values{"manager.replicas": 1}, modern, "FEWER THAN 2 REPLICAS", "replicas in"},
		{values{"metrics.enabled": false, "metrics.serviceMonitor.enabled": true}, modern, "has no effect", "DOES NOT SERVE"},
	} {
		notes := mustRender(t, "fairlead", test.v, test.in).notes
		if !strings.Contains(notes, test.says) || strings.Contains(notes, test.silent) {
			t.Errorf("%s in %s: want %q and not %q in:\n%s", test.v, test.in.version, test.says, test.silent, notes)
		}
	}
}
