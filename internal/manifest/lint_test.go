// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package manifest

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// linted is what Lint says of files, by name, without the folder.
func linted(t *testing.T, files folder) []string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		write(t, text, dir, name)
	}
	report, err := Lint(dir)
	must(t, err)
	var lines []string
	errors := 0
	for _, f := range report.Findings {
		lines = append(lines, strings.TrimPrefix(f.String(), dir+"/"))
		if f.Severity == Error {
			errors++
		}
	}
	if report.Errors() != errors || report.Files != len(files) {
		t.Errorf("%d errors in %d files reported, found %d in %d", report.Errors(), report.Files, errors, len(files))
	}
	return lines
}

const (
	policyFor   = "apiVersion: rpc.fairlead.dev/v1alpha1\nkind: RPCCallPolicy\nmetadata: {name: p}\nspec:\n  timeout: 1s\n  targetRefs:\n"
	limitFor    = "apiVersion: rpc.fairlead.dev/v1alpha1\nkind: RPCLimitPolicy\nmetadata: {name: p}\nspec:\n  targetRefs:\n"
	refTo       = "  - {group: rpc.fairlead.dev, kind: RPCService, name: "
	toNamespace = "  - {group: \"\", kind: Namespace, name: "
	far         = "apiVersion: rpc.fairlead.dev/v1alpha1\nkind: RPCService\nmetadata: {name: a, namespace: far}\nspec:\n  source: {type: Registered}\n"
	from        = "apiVersion: rpc.fairlead.dev/v1alpha1\nkind: RPCService\nmetadata: {name: a}\nspec:\n  source:\n    type: Service\n    service:\n"
	kube        = "apiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec:\n  ports:\n  - {name: rpc, port: 1}\n  - {name: http, port: 2}\n"
)

// TestReferences says what is warned of across files.
func TestReferences(t *testing.T) {
	tests := []struct {
		name  string
		files folder
		want  []string
	}{
		{"everything is there", folder{"s.yaml": service("a", "A.B"), "p.yaml": policyFor + refTo + "a, sectionName: A.B}\n"}, nil},
		{"a target that is spelt wrongly", folder{"s.yaml": service("arith"), "p.yaml": policyFor + refTo + "airth}\n"},
			[]string{"p.yaml:7: warning: spec.targetRefs[0].name: there is no RPCService default/airth in these manifests; did you mean arith?"}},
		{"a target in another namespace", folder{"s.yaml": strings.Replace(service("arith"), "{name: arith}", "{name: arith, namespace: shop}", 1), "p.yaml": policyFor + refTo + "arith}\n"},
			[]string{"p.yaml:7: warning: spec.targetRefs[0].name: there is no RPCService default/arith in these manifests; there is one in namespace shop"}},
		{"a caller's target", folder{"p.yaml": policyFor + refTo + "arith, namespace: shop}\n"},
			[]string{"p.yaml:7: warning: spec.targetRefs[0].name: there is no RPCService shop/arith in these manifests"}},
		{"a target that is broken itself", folder{"s.yaml": broken, "p.yaml": policyFor + refTo + "a}\n"},
			[]string{"s.yaml:4: spec.source: is missing, but required"}},
		{"a target beside something broken", folder{"s.yaml": documents(service("b"), broken), "p.yaml": policyFor + refTo + "b}\n"},
			[]string{"s.yaml:10: spec.source: is missing, but required"}},
		{"a method that is not declared", folder{"s.yaml": service("a", "A.B", "A.C"), "p.yaml": policyFor + refTo + "a, sectionName: A.B}\n" + refTo + "a, sectionName: A.D}\n"},
			[]string{"p.yaml:8: warning: spec.targetRefs[1].sectionName: "}},
		{"a limited method that is not declared", folder{"s.yaml": service("a", "A.B"), "p.yaml": limitFor + refTo + "a}\n  limits:\n  - name: x\n    concurrency: {max: 1}\n    methods:\n    - A.B\n    - A.D\n"},
			[]string{"p.yaml:12: warning: spec.limits[0].methods[1]: "}},
		{"limits by proven callers", folder{"s.yaml": service("a"), "p.yaml": limitFor + refTo + "a}\n  limits:\n" +
			"  - {name: x, concurrency: {max: 1},\n     by: Caller}\n  - {name: w, concurrency: {max: 1}, by: Caller,\n     callerNames: Proven}\n  - {name: z, concurrency: {max: 1}, by: Caller, callerNames: Declared}\n"},
			[]string{"p.yaml:9: warning: spec.limits[0].by: ", "p.yaml:11: warning: spec.limits[1].callerNames: "}},
		{"a Service that is not there", folder{"s.yaml": from + "      name: b\n", "k.yaml": kube},
			[]string{"s.yaml:8: warning: spec.source.service.name: "}},
		{"a port that is not there", folder{"s.yaml": from + "      name: a\n      port: grpc\n", "k.yaml": kube},
			[]string{"s.yaml:9: warning: spec.source.service.port: "}},
		{"a port to choose", folder{"s.yaml": from + "      name: a\n", "k.yaml": kube},
			[]string{"s.yaml:7: warning: spec.source.service.port: "}},
		{"a Service without endpoints", folder{"s.yaml": from + "      name: a\n", "k.yaml": "apiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec: {type: ExternalName, externalName: a.b}\n"},
			[]string{"s.yaml:8: warning: spec.source.service.name: "}},
		{"a Service that is broken itself", folder{"s.yaml": from + "      name: a\n", "k.yaml": "apiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec: {port: 1}\n"},
			[]string{"k.yaml:4: spec.port: unknown field; did you mean ports?"}},
		{"a namespace", folder{"p.yaml": policyFor + toNamespace + "default, appliesTo: Services}\n" + toNamespace + "default, appliesTo: Callers}\n"}, nil},
		{"a namespace that is not the policy's", folder{"p.yaml": policyFor + refTo + "a}\n" + toNamespace + "shop, appliesTo: Callers}\n", "s.yaml": service("a")},
			[]string{"p.yaml:8: warning: spec.targetRefs[1].name: a policy can target no other Namespace than its own, which is default and not shop"}},
		{"a limited method that no service declares", folder{"s.yaml": service("a", "A.B"), "p.yaml": limitFor + toNamespace + "default, appliesTo: Services}\n  limits:\n" +
			"  - {name: x, concurrency: {max: 1}, methods: [A.B]}\n  - {name: z, concurrency: {max: 1}, methods: [A.C]}\n"},
			[]string{"p.yaml:6: warning: spec.targetRefs[0]: no RPCService that it reaches declares A.C"}},
		{"a service that keeps to itself", folder{"s.yaml": far + "  consumers: {namespaces: {from: Same}}\n", "p.yaml": policyFor + refTo + "a, namespace: far}\n"},
			[]string{"p.yaml:7: warning: spec.targetRefs[0].namespace: "}},
		{"a service that selects, by labels that are not here", folder{"s.yaml": far + "  consumers: {namespaces: {from: Selector, selector: {matchLabels: {a: b}}}}\n",
			"p.yaml": policyFor + refTo + "a, namespace: far}\n"}, nil},
		{"a selector with a key that is none", folder{"s.yaml": far + "  consumers:\n    namespaces: {from: Selector, selector: {matchLabels: {\"a b\": c}}}\n"},
			[]string{"s.yaml:7: warning: spec.consumers.namespaces: "}},
		{"one object in two files", folder{"1.yaml": service("a"), "2.yaml": "\n" + service("a")},
			[]string{"2.yaml:4: metadata.name: RPCService default/a is already in DIR/1.yaml:3"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got := linted(t, test.files)
			for i := range got {
				// A want that ends with the field is about the place only.
				if i < len(test.want) && strings.HasSuffix(test.want[i], ": ") && strings.HasPrefix(got[i], test.want[i]) && len(got[i]) > len(test.want[i]) {
					got[i] = test.want[i]
				}
				if before, after, found := strings.Cut(got[i], "already in /"); found {
					got[i] = before + "already in DIR/" + after[strings.LastIndex(after, "/")+1:]
				}
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("findings (-want +got):\n%s", diff)
			}
		})
	}
}
