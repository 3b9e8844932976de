// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package manifest

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// judged returns what there is to say of a text, one line each.
func judged(t *testing.T, text string) []string {
	t.Helper()
	p, err := parseFile("m.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for _, f := range p.findings {
		lines = append(lines, f.String())
	}
	return lines
}

const policyHead = `apiVersion: rpc.fairlead.dev/v1alpha1
kind: RPCCallPolicy
metadata: {name: arith}
spec:
  targetRefs:
  - group: rpc.fairlead.dev
    kind: RPCService
    name: arith
`

// TestMessages holds the words that people read: here the text is the product.
func TestMessages(t *testing.T) {
	const ours = "apiVersion: rpc.fairlead.dev/v1alpha1\n"
	tests := []struct{ name, text, want string }{
		{"enum", policyHead + "  failMode: Sometimes\n", `m.yaml:9: spec.failMode: "Sometimes" is none of Failfast, Failover`},
		{"range", policyHead + "  retry: {attempts: 30}\n", `m.yaml:9: spec.retry.attempts: 30 is out of range: from 1 to 10`},
		{"duration", policyHead + "  timeout: 5 s\n", `m.yaml:9: spec.timeout: "5 s" is not a duration such as 300ms or 1m30s: whole numbers, each with h, m, s or ms`},
		{"number for duration", policyHead + "  timeout: 5\n", `m.yaml:9: spec.timeout: 5 is a whole number, where a duration such as 300ms or 1m30s is expected`},
		{"mapping for number", policyHead + "  retry: {attempts: {max: 3}}\n", `m.yaml:9: spec.retry.attempts: a mapping stands where a whole number is expected`},
		{"number for enum", policyHead + "  failMode: 1\n", `m.yaml:9: spec.failMode: 1 is a whole number, where one of Failfast, Failover is expected`},
		{"bool for list", ours + "kind: RPCService\nmetadata: {name: a}\nspec: {source: {type: Registered}, methods: true}\n", `m.yaml:4: spec.methods: is read as true, where a list is expected`},
		{"bool for text", ours + "kind: RPCService\nmetadata: {name: no}\nspec: {source: {type: Registered}}\n", `m.yaml:3: metadata.name: is read as false, where a string is expected; put it in quotes if it is meant as text`},
		{"required", policyHead + "  retry: {budget: {percent: 1}}\n", `m.yaml:9: spec.retry.budget.interval: is missing, but required`},
		{"empty mapping", policyHead + "  timeout: 1s\n  loadBalancer: {}\n", `m.yaml:10: spec.loadBalancer: has 0 fields; at least 1 of type must be set`},
		{"rule", policyHead + "  retry: {backoff: {base: 2s, max: 1s}}\n", `m.yaml:9: spec.retry.backoff.base: base must not be longer than max`},
		{"unknown field", policyHead + "  timeOut: 1s\n", `m.yaml:9: spec.timeOut: unknown field; did you mean timeout?`},
		{"unknown for required", ours + "kind: RPCService\nmetadata: {name: a}\nspec: {sorce: {type: Registered}}\n", `m.yaml:4: spec.sorce: unknown field; did you mean source?`},
		{"unknown and alone", policyHead + "  retry: {numRetries: 3}\n", `m.yaml:9: spec.retry.numRetries: unknown field`},
		{"unknown field like no other", policyHead + "  timeout: 1s\n  hedging: {}\n", `m.yaml:10: spec.hedging: unknown field`},
		{"key twice", policyHead + "  timeout: 1s\n  timeout: 2s\n", `m.yaml:10: spec.timeout: stands twice; it is already on line 9`},
		{"entry twice", ours + "kind: RPCService\nmetadata: {name: a}\nspec:\n  source: {type: Registered}\n  methods:\n  - name: A.B\n  - name: A.B\n", `m.yaml:8: spec.methods[1]: name "A.B" stands twice in this list`},
		{"object twice", policyHead + "  timeout: 1s\n---\n" + policyHead + "  timeout: 1s\n", `m.yaml:13: metadata.name: RPCCallPolicy default/arith stands twice in this file; it is already on line 1`},
		{"method name", ours + "kind: RPCService\nmetadata: {name: a}\nspec: {source: {type: Registered}, methods: [{name: 1.B}]}\n", `m.yaml:4: spec.methods[0].name: "1.B" is not the name of a method such as Arith.Mul: letters, digits and _ . / -, with a letter or _ in front`},
		{"kind of ours", ours + "kind: RPCservice\n", `m.yaml:2: kind: "RPCservice" is not a kind of rpc.fairlead.dev/v1alpha1; did you mean RPCService?`},
		{"kind of others", "apiVersion: apps/v1\nkind: Deployment\n", `m.yaml:2: kind: "Deployment" of apps/v1 is none of the kinds that are read here: RPCService, RPCCallPolicy, RPCLimitPolicy, Service, EndpointSlice`},
		{"version", "apiVersion: rpc.fairlead.dev/v1\nkind: RPCService\n", `m.yaml:1: apiVersion: "rpc.fairlead.dev/v1" has no RPCService that is read here; use rpc.fairlead.dev/v1alpha1`},
		{"no kind", ours, `m.yaml:1: kind: is missing, but required`},
		{"no manifest", "- a\n- b\n", `m.yaml:1: not a manifest: apiVersion, kind, metadata and spec are expected`},
		{"tab", "metadata:\n\tname: a\n", `m.yaml:2: not valid YAML: a tab indents this line; use spaces`},
		{"name", ours + "kind: RPCService\nmetadata: {name: Arith}\nspec: {source: {type: Registered}}\n", `m.yaml:3: metadata.name: "Arith" is not a name of lower-case letters, digits, - and ., with a letter or digit at both ends of each part`},
		{"generateName", ours + "kind: RPCService\nmetadata: {generateName: a-}\nspec: {source: {type: Registered}}\n", `m.yaml:3: metadata.name: generateName names an object anew each time; a manifest needs a name`},
		{"namespace", ours + "kind: RPCService\nmetadata: {name: a, namespace: A}\nspec: {source: {type: Registered}}\n", `m.yaml:3: metadata.namespace: "A" is not a name of up to 63 lower-case letters, digits and -, with a letter or digit at both ends`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if diff := cmp.Diff([]string{test.want}, judged(t, test.text)); diff != "" {
				t.Errorf("findings differ (-want +got):\n%s", diff)
			}
		})
	}
}

// TestWordsForEveryPattern fails when a pattern comes into a spec that people would be shown as it is.
func TestWordsForEveryPattern(t *testing.T) {
	byKind, err := definitions()
	if err != nil {
		t.Fatal(err)
	}
	for kind, d := range byKind {
		spec := d.structural.Properties["spec"]
		patterns := 0
		walkSchema("spec", &spec, func(path string, s *schema.Structural) {
			if s.ValueValidation == nil || s.ValueValidation.Pattern == "" {
				return
			}
			patterns++
			if _, ok := patternWords(s.ValueValidation.Pattern); !ok {
				t.Errorf("%s: %s: no words for the pattern %s", kind, path, s.ValueValidation.Pattern)
			}
		})
		if patterns == 0 {
			t.Errorf("%s: no pattern found", kind)
		}
	}
}

func walkSchema(path string, s *schema.Structural, visit func(string, *schema.Structural)) {
	visit(path, s)
	for name, property := range s.Properties {
		walkSchema(path+"."+name, &property, visit)
	}
	if s.Items != nil {
		walkSchema(path+"[]", s.Items, visit)
	}
}

// TestWhatIsTaken says what an object looks like that comes out of a file.
func TestWhatIsTaken(t *testing.T) {
	const text = `apiVersion: rpc.fairlead.dev/v1alpha1
kind: RPCService
metadata:
  name: arith
  uid: 6b1b0ab3-9f6e-4b7e-8d0f-3c1a5be2a111
  resourceVersion: "77"
  generation: 9
  creationTimestamp: 2026-01-02T15:04:05Z
  ownerReferences: [{apiVersion: v1, kind: Service, name: a, uid: b}]
spec: {source: {type: Registered}}
status: {observedGeneration: 9}
`
	p, err := parseFile("m.yaml", []byte(text))
	if err != nil || len(p.findings) > 0 || len(p.objects) != 1 {
		t.Fatalf("findings %v, %d objects, error %v", p.findings, len(p.objects), err)
	}
	o := p.objects[0].typed
	if o.GetNamespace() != metav1.NamespaceDefault || o.GetUID() != "6b1b0ab3-9f6e-4b7e-8d0f-3c1a5be2a111" {
		t.Errorf("namespace %q, uid %q", o.GetNamespace(), o.GetUID())
	}
	stamp := o.GetCreationTimestamp()
	if o.GetResourceVersion() != "" || o.GetGeneration() != 0 || !stamp.IsZero() || o.GetOwnerReferences() != nil {
		t.Errorf("what a server wrote is still there: %+v", o)
	}
}

func TestLists(t *testing.T) {
	const items = `items:
- metadata: {name: a}
  spec: {source: {type: Registered}}
- apiVersion: rpc.fairlead.dev/v1alpha1
  kind: RPCService
  metadata: {name: b}
  spec:
    source: {type: Registered, service: {name: b}}
`
	got := judged(t, "apiVersion: rpc.fairlead.dev/v1alpha1\nkind: RPCServiceList\n"+items)
	want := []string{"m.yaml:10: items[1].spec.source.service: service may be set only when type is Service"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("a list of a kind (-want +got):\n%s", diff)
	}
	got = judged(t, "apiVersion: v1\nkind: List\nmetadata: {}\nitem: []\n"+items)
	want = []string{
		"m.yaml:4: item: unknown field; did you mean items?",
		"m.yaml:6: items[0].apiVersion: is missing, but required",
		"m.yaml:12: items[1].spec.source.service: service may be set only when type is Service",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("a list of anything (-want +got):\n%s", diff)
	}
	if got := judged(t, "apiVersion: v1\nkind: PodList\nitems: []\n"); len(got) != 1 || !strings.Contains(got[0], "PodList") {
		t.Errorf("a list of a kind that is not read: %v", got)
	}
	if got := judged(t, "apiVersion: v1\nkind: List\nitems: [1, {a: b}]\n"); len(got) != 2 {
		t.Errorf("entries that are no manifests: %v", got)
	}
}

// TestBoundedWork feeds what would grow without bound.
func TestBoundedWork(t *testing.T) {
	var bomb strings.Builder
	bomb.WriteString("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n")
	for i := 1; i < 12; i++ {
		fmt.Fprintf(&bomb, "a%d: &a%d [%s*a%d]\n", i, i, strings.Repeat(fmt.Sprintf("*a%d, ", i-1), 9), i-1)
	}
	long := "a: &a " + strings.Repeat("x", 1<<20) + "\nb: [" + strings.Repeat("*a, ", 64) + "]\n"
	for name, test := range map[string]struct {
		text, want string
		count      int
	}{
		"aliases of aliases":    {bomb.String(), "m.yaml:7: with its aliases written out this would be larger than 16 MiB", 1},
		"a long one many times": {long, "m.yaml:2: with its aliases written out this would be larger than 16 MiB", 1},
		"itself":                {"a: &a [*a]\n", `m.yaml:1: the anchor "a" contains itself`, 1},
		"itself by a merge":     {"a: &a {<<: *a}\n", `m.yaml:1: the anchor "a" contains itself`, 1},
		"twenty thousand deep":  {strings.Repeat("[", 20000), "m.yaml:1: not valid YAML: ", 1},
		"many warnings":         {loopbacks(150), "m.yaml:7: warning: ", maxFindings + 1},
		"a thousand mistakes":   {"apiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec:\n" + unknownFields(1000), "m.yaml:5: spec.unknown0: unknown field", maxFindings + 1},
	} {
		t.Run(name, func(t *testing.T) {
			got := judged(t, test.text)
			if len(got) == 0 || !strings.HasPrefix(got[0], test.want) || len(got) != test.count {
				t.Errorf("%d findings, want %q first of %d: %.200q", len(got), test.want, test.count, strings.Join(got, "\n"))
			}
		})
	}
}

func loopbacks(n int) string {
	return "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {name: a, labels: {kubernetes.io/service-name: a}}\n" +
		"addressType: IPv4\nendpoints:\n- addresses:\n" + strings.Repeat("  - 127.0.0.1\n", n/2) + "- addresses:\n" + strings.Repeat("  - 127.0.0.1\n", n/2)
}

func unknownFields(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "  unknown%d: 1\n", i)
	}
	return b.String()
}

// TestManyWarnings: cutting findings short must not refuse a file.
func TestManyWarnings(t *testing.T) {
	p, err := parseFile("m.yaml", []byte(loopbacks(150)))
	if err != nil || !p.ok() || len(p.objects) != 1 {
		t.Errorf("%d findings, the last %v; %d objects (%v)", len(p.findings), p.findings[len(p.findings)-1], len(p.objects), err)
	}
}
