// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package v1alpha1_test

import (
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"

	"github.com/fairlead/fairlead/api/v1alpha1"
)

const (
	ref        = "{group: rpc.fairlead.dev, kind: RPCService, name: arith}"
	refMul     = "{group: rpc.fairlead.dev, kind: RPCService, name: arith, sectionName: Arith.Mul}"
	refAdd     = "{group: rpc.fairlead.dev, kind: RPCService, name: arith, sectionName: Arith.Add}"
	refOther   = "{group: rpc.fairlead.dev, kind: RPCService, name: cart}"
	refFar     = "{group: rpc.fairlead.dev, kind: RPCService, name: arith, namespace: bank}"
	nsServices = `{group: "", kind: Namespace, name: shop, appliesTo: Services}`
	nsCallers  = `{group: "", kind: Namespace, name: shop, appliesTo: Callers}`
	refFarMul  = "{group: rpc.fairlead.dev, kind: RPCService, name: arith, namespace: bank, sectionName: Arith.Mul}"
)

// ruleTests are specs as people would write them. wrong names the fields that the API server must complain about, all of
// them and no other.
var ruleTests = []struct {
	name  string
	kind  string
	spec  string
	wrong []string
}{
	{"a service with only what is required", v1alpha1.KindRPCService, `{source: {type: Service, service: {name: arith}}}`, nil},
	{"a registered service", v1alpha1.KindRPCService, `{source: {type: Registered}, undeclaredMethods: Allow}`, nil},
	{"a service name that starts with a digit", v1alpha1.KindRPCService, `{source: {type: Service, service: {name: 3d-arith}}}`, nil},
	{"method names with paths", v1alpha1.KindRPCService,
		`{source: {type: Registered}, methods: [{name: Arith.Mul}, {name: shop.v1/Arith.Mul, idempotency: NotIdempotent}, {name: _x}]}`, nil},
	{"source Service without service", v1alpha1.KindRPCService, `{source: {type: Service}}`, []string{"spec.source.service"}},
	{"source Registered with service", v1alpha1.KindRPCService, `{source: {type: Registered, service: {name: arith}}}`, []string{"spec.source.service"}},
	{"the port as a number", v1alpha1.KindRPCService, `{source: {type: Service, service: {name: arith, port: 8972}}}`, []string{"spec.source.service.port"}},
	{"a method twice", v1alpha1.KindRPCService, `{source: {type: Registered}, methods: [{name: A.B}, {name: A.B}]}`, []string{"spec.methods[1]"}},
	{"an unknown field", v1alpha1.KindRPCService, `{source: {type: Registered}, customers: {}}`, []string{"spec.customers"}},
	{"consumers everywhere", v1alpha1.KindRPCService, `{source: {type: Registered}, consumers: {namespaces: {from: All}}}`, nil},
	{"consumers at home", v1alpha1.KindRPCService, `{source: {type: Registered}, consumers: {namespaces: {from: Same}}}`, nil},
	{"consumers by label", v1alpha1.KindRPCService,
		`{source: {type: Registered}, consumers: {namespaces: {from: Selector, selector: {matchLabels: {team: a, "b/c": ""}, matchExpressions: [{key: kubernetes.io/metadata.name, operator: NotIn, values: [x]}, {key: z, operator: Exists}]}}}}`, nil},
	{"consumers nowhere", v1alpha1.KindRPCService, `{source: {type: Registered}, consumers: {}}`, []string{"spec.consumers.namespaces"}},
	{"Selector without a selector", v1alpha1.KindRPCService, `{source: {type: Registered}, consumers: {namespaces: {from: Selector}}}`, []string{"spec.consumers.namespaces.selector"}},
	{"Same with a selector", v1alpha1.KindRPCService,
		`{source: {type: Registered}, consumers: {namespaces: {from: Same, selector: {matchLabels: {a: b}}}}}`, []string{"spec.consumers.namespaces.selector"}},
	{"a selector of nothing", v1alpha1.KindRPCService,
		`{source: {type: Registered}, consumers: {namespaces: {from: Selector, selector: {}}}}`, []string{"spec.consumers.namespaces.selector"}},
	{"In without values", v1alpha1.KindRPCService,
		`{source: {type: Registered}, consumers: {namespaces: {from: Selector, selector: {matchExpressions: [{key: a, operator: In}]}}}}`,
		[]string{"spec.consumers.namespaces.selector.matchExpressions[0].values"}},
	{"Exists with values", v1alpha1.KindRPCService,
		`{source: {type: Registered}, consumers: {namespaces: {from: Selector, selector: {matchExpressions: [{key: a, operator: Exists, values: [b]}]}}}}`,
		[]string{"spec.consumers.namespaces.selector.matchExpressions[0].values"}},
	{"a label that is none", v1alpha1.KindRPCService,
		`{source: {type: Registered}, consumers: {namespaces: {from: Selector, selector: {matchLabels: {a: "b c"}}}}}`,
		[]string{"spec.consumers.namespaces.selector.matchLabels.a"}},
	{"no source", v1alpha1.KindRPCService, `{}`, []string{"spec.source"}},

	{"a call policy with one field", v1alpha1.KindRPCCallPolicy, `{targetRefs: [` + ref + `], timeout: 1ms}`, nil},
	{"the longest durations", v1alpha1.KindRPCCallPolicy,
		`{targetRefs: [` + ref + `], timeout: 1h, retry: {perTryTimeout: 60m0s0ms, backoff: {base: 1m, max: 60s}, budget: {percent: 100, interval: 3600s}, minRetryRate: {count: 0, interval: 1h}}}`, nil},
	{"the shortest durations", v1alpha1.KindRPCCallPolicy,
		`{targetRefs: [` + ref + `], timeout: 1ms, retry: {attempts: 1, perTryTimeout: 1ms, backoff: {base: 1ms, max: 1ms}, budget: {percent: 0, interval: 1s}}}`, nil},
	{"perTryTimeout alone", v1alpha1.KindRPCCallPolicy, `{targetRefs: [` + ref + `], retry: {perTryTimeout: 30s}}`, nil},
	{"two methods of one service", v1alpha1.KindRPCCallPolicy, `{targetRefs: [` + refMul + `, ` + refAdd + `], failMode: Failfast}`, nil},
	{"two services, and one of the same name far away", v1alpha1.KindRPCCallPolicy, `{targetRefs: [` + ref + `, ` + refOther + `, ` + refFar + `], loadBalancer: {type: Random}}`, nil},
	{"one method near, the same far", v1alpha1.KindRPCCallPolicy, `{targetRefs: [` + refMul + `, ` + refFarMul + `], loadBalancer: {type: RoundRobin}}`, nil},
	{"a namespace from both sides, and a service", v1alpha1.KindRPCCallPolicy, `{targetRefs: [` + nsServices + `, ` + nsCallers + `, ` + ref + `], timeout: 1s}`, nil},
	{"overrides alone", v1alpha1.KindRPCCallPolicy, `{targetRefs: [` + nsServices + `, ` + refMul + `], overrides: {timeout: 1s, retry: {attempts: 1}}}`, nil},
	{"a namespace without appliesTo", v1alpha1.KindRPCCallPolicy, `{targetRefs: [{group: "", kind: Namespace, name: shop}], timeout: 1s}`, []string{"spec.targetRefs[0].appliesTo"}},
	{"a namespace twice", v1alpha1.KindRPCCallPolicy, `{targetRefs: [` + nsCallers + `, ` + nsCallers + `], timeout: 1s}`, []string{"spec.targetRefs"}},
	{"a namespace of our group", v1alpha1.KindRPCCallPolicy,
		`{targetRefs: [{group: rpc.fairlead.dev, kind: Namespace, name: shop, appliesTo: Callers}], timeout: 1s}`, []string{"spec.targetRefs[0].group"}},
	{"a namespace with a section", v1alpha1.KindRPCCallPolicy,
		`{targetRefs: [{group: "", kind: Namespace, name: shop, appliesTo: Callers, sectionName: A.B}], timeout: 1s}`, []string{"spec.targetRefs[0].sectionName"}},
	{"a namespace in a namespace", v1alpha1.KindRPCCallPolicy,
		`{targetRefs: [{group: "", kind: Namespace, name: shop, appliesTo: Callers, namespace: shop}], timeout: 1s}`, []string{"spec.targetRefs[0].namespace"}},
	{"a service with appliesTo", v1alpha1.KindRPCCallPolicy,
		`{targetRefs: [{group: rpc.fairlead.dev, kind: RPCService, name: arith, appliesTo: Callers}], timeout: 1s}`, []string{"spec.targetRefs[0].appliesTo"}},
	{"overrides of a far service", v1alpha1.KindRPCCallPolicy, `{targetRefs: [` + refFar + `], overrides: {timeout: 1s}}`, []string{"spec.overrides"}},
	{"overrides of callers", v1alpha1.KindRPCCallPolicy, `{targetRefs: [` + nsCallers + `], timeout: 1s, overrides: {timeout: 1s}}`, []string{"spec.overrides"}},
	{"overrides of nothing", v1alpha1.KindRPCCallPolicy, `{targetRefs: [` + ref + `], timeout: 1s, overrides: {}}`, []string{"spec.overrides"}},
	{"overrides' timeout too long", v1alpha1.KindRPCCallPolicy, `{targetRefs: [` + ref + `], overrides: {timeout: 2h}}`, []string{"spec.overrides.timeout"}},
	{"overrides' perTryTimeout longer than timeout", v1alpha1.KindRPCCallPolicy,
		`{targetRefs: [` + ref + `], overrides: {timeout: 1s, retry: {perTryTimeout: 2s, backoff: {base: 2s, max: 1s}, budget: {percent: 1, interval: 1ms}, minRetryRate: {count: 1, interval: 1ms}}}}`,
		[]string{"spec.overrides.retry.backoff.base", "spec.overrides.retry.budget.interval", "spec.overrides.retry.minRetryRate.interval", "spec.overrides.retry.perTryTimeout"}},
	{"overrides' durations out of bounds", v1alpha1.KindRPCCallPolicy,
		`{targetRefs: [` + ref + `], overrides: {retry: {perTryTimeout: 2h, backoff: {base: 0s, max: 2m}}}}`,
		[]string{"spec.overrides.retry.backoff.base", "spec.overrides.retry.backoff.max", "spec.overrides.retry.perTryTimeout"}},
	{"a call policy that says nothing", v1alpha1.KindRPCCallPolicy, `{targetRefs: [` + ref + `]}`, []string{"spec"}},
	{"no target", v1alpha1.KindRPCCallPolicy, `{targetRefs: [], timeout: 1s}`, []string{"spec.targetRefs"}},
	{"one service twice", v1alpha1.KindRPCCallPolicy, `{targetRefs: [` + ref + `, ` + ref + `], timeout: 1s}`, []string{"spec.targetRefs"}},
	{"a service and its method", v1alpha1.KindRPCCallPolicy, `{targetRefs: [` + refMul + `, ` + ref + `], timeout: 1s}`, []string{"spec.targetRefs"}},
	{"one method twice", v1alpha1.KindRPCCallPolicy, `{targetRefs: [` + refMul + `, ` + refAdd + `, ` + refMul + `], timeout: 1s}`, []string{"spec.targetRefs"}},
	{"one far method twice", v1alpha1.KindRPCCallPolicy, `{targetRefs: [` + refFarMul + `, ` + refFarMul + `], timeout: 1s}`, []string{"spec.targetRefs"}},
	{"a far service twice", v1alpha1.KindRPCCallPolicy, `{targetRefs: [` + refFar + `, ` + refFar + `], timeout: 1s}`, []string{"spec.targetRefs"}},
	{"a target of another group", v1alpha1.KindRPCCallPolicy, `{targetRefs: [{group: "", kind: RPCService, name: arith}], timeout: 1s}`, []string{"spec.targetRefs[0].group"}},
	{"a target of another kind", v1alpha1.KindRPCCallPolicy, `{targetRefs: [{group: rpc.fairlead.dev, kind: Service, name: arith}], timeout: 1s}`, []string{"spec.targetRefs[0].kind"}},
	{"timeout of zero", v1alpha1.KindRPCCallPolicy, `{targetRefs: [` + ref + `], timeout: 0s}`, []string{"spec.timeout"}},
	{"timeout too long", v1alpha1.KindRPCCallPolicy, `{targetRefs: [` + ref + `], timeout: 1h1ms}`, []string{"spec.timeout"}},
	{"timeout without a unit, in one complaint", v1alpha1.KindRPCCallPolicy, `{targetRefs: [` + ref + `], timeout: "300", retry: {perTryTimeout: 1s}}`, []string{"spec.timeout"}},
	{"timeout with a fraction", v1alpha1.KindRPCCallPolicy, `{targetRefs: [` + ref + `], timeout: 1.5s}`, []string{"spec.timeout"}},
	{"timeout as a number", v1alpha1.KindRPCCallPolicy, `{targetRefs: [` + ref + `], timeout: 300}`, []string{"spec.timeout"}},
	{"perTryTimeout of zero", v1alpha1.KindRPCCallPolicy, `{targetRefs: [` + ref + `], retry: {perTryTimeout: 0ms}}`, []string{"spec.retry.perTryTimeout"}},
	{"perTryTimeout too long", v1alpha1.KindRPCCallPolicy, `{targetRefs: [` + ref + `], retry: {perTryTimeout: 61m}}`, []string{"spec.retry.perTryTimeout"}},
	{"perTryTimeout longer than timeout", v1alpha1.KindRPCCallPolicy, `{targetRefs: [` + ref + `], timeout: 300ms, retry: {perTryTimeout: 1s}}`, []string{"spec.retry.perTryTimeout"}},
	{"perTryTimeout without a unit, in one complaint", v1alpha1.KindRPCCallPolicy, `{targetRefs: [` + ref + `], timeout: 1s, retry: {perTryTimeout: "1"}}`, []string{"spec.retry.perTryTimeout"}},
	{"backoff base of zero", v1alpha1.KindRPCCallPolicy, `{targetRefs: [` + ref + `], retry: {backoff: {base: 0s, max: 1s}}}`, []string{"spec.retry.backoff.base"}},
	{"backoff max too long", v1alpha1.KindRPCCallPolicy, `{targetRefs: [` + ref + `], retry: {backoff: {base: 1s, max: 61s}}}`, []string{"spec.retry.backoff.max"}},
	{"backoff base longer than max", v1alpha1.KindRPCCallPolicy, `{targetRefs: [` + ref + `], retry: {backoff: {base: 2s, max: 1s}}}`, []string{"spec.retry.backoff.base"}},
	{"backoff base without a unit, in one complaint", v1alpha1.KindRPCCallPolicy, `{targetRefs: [` + ref + `], retry: {backoff: {base: "2", max: 1s}}}`, []string{"spec.retry.backoff.base"}},
	{"backoff max without a unit, in one complaint", v1alpha1.KindRPCCallPolicy, `{targetRefs: [` + ref + `], retry: {backoff: {base: 2s, max: "1"}}}`, []string{"spec.retry.backoff.max"}},
	{"half a backoff", v1alpha1.KindRPCCallPolicy, `{targetRefs: [` + ref + `], retry: {backoff: {base: 2s}}}`, []string{"spec.retry.backoff.max"}},
	{"budget interval too short", v1alpha1.KindRPCCallPolicy, `{targetRefs: [` + ref + `], retry: {budget: {percent: 20, interval: 999ms}}}`, []string{"spec.retry.budget.interval"}},
	{"budget percent as a string", v1alpha1.KindRPCCallPolicy, `{targetRefs: [` + ref + `], retry: {budget: {percent: 20%, interval: 1s}}}`, []string{"spec.retry.budget.percent"}},
	{"minRetryRate interval too long", v1alpha1.KindRPCCallPolicy, `{targetRefs: [` + ref + `], retry: {minRetryRate: {count: 1, interval: 2h}}}`, []string{"spec.retry.minRetryRate.interval"}},
	{"an empty retry", v1alpha1.KindRPCCallPolicy, `{targetRefs: [` + ref + `], retry: {}}`, []string{"spec.retry"}},
	{"an empty loadBalancer", v1alpha1.KindRPCCallPolicy, `{targetRefs: [` + ref + `], loadBalancer: {}}`, []string{"spec.loadBalancer"}},
	{"a failMode that does not exist", v1alpha1.KindRPCCallPolicy, `{targetRefs: [` + ref + `], failMode: Sometimes}`, []string{"spec.failMode"}},
	{"an unknown field deep down", v1alpha1.KindRPCCallPolicy, `{targetRefs: [` + ref + `], retry: {attempts: 2, jitter: full}}`, []string{"spec.retry.jitter"}},

	{"a limit by method", v1alpha1.KindRPCLimitPolicy, `{targetRefs: [` + ref + `], limits: [{name: a, methods: [A.B], concurrency: {max: 1}}]}`, nil},
	{"limits on two methods", v1alpha1.KindRPCLimitPolicy, `{targetRefs: [` + refMul + `, ` + refAdd + `], limits: [{name: a, rate: {count: 1, interval: 1h}}]}`, nil},
	{"a limit by caller", v1alpha1.KindRPCLimitPolicy, `{targetRefs: [` + ref + `, ` + refOther + `], limits: [{name: a, by: Caller, callerNames: Proven, rate: {count: 1, interval: 1s, burst: 9}}]}`, nil},
	{"a limit by all", v1alpha1.KindRPCLimitPolicy, `{targetRefs: [` + ref + `], limits: [{name: a, by: All, rate: {count: 1, interval: 1s}}]}`, nil},
	{"limits for a namespace and a service of its name", v1alpha1.KindRPCLimitPolicy,
		`{targetRefs: [` + nsServices + `, {group: rpc.fairlead.dev, kind: RPCService, name: shop}], limits: [{name: a, concurrency: {max: 1}}]}`, nil},
	{"limits for callers", v1alpha1.KindRPCLimitPolicy, `{targetRefs: [` + nsCallers + `], limits: [{name: a, concurrency: {max: 1}}]}`, []string{"spec.targetRefs"}},
	{"a limited namespace of our group", v1alpha1.KindRPCLimitPolicy,
		`{targetRefs: [{group: rpc.fairlead.dev, kind: Namespace, name: shop, appliesTo: Services}], limits: [{name: a, concurrency: {max: 1}}]}`, []string{"spec.targetRefs[0].group"}},
	{"a limited namespace without appliesTo", v1alpha1.KindRPCLimitPolicy,
		`{targetRefs: [{group: "", kind: Namespace, name: shop}], limits: [{name: a, concurrency: {max: 1}}]}`, []string{"spec.targetRefs[0].appliesTo"}},
	{"a limited service with appliesTo", v1alpha1.KindRPCLimitPolicy,
		`{targetRefs: [{group: rpc.fairlead.dev, kind: RPCService, name: a, appliesTo: Services}], limits: [{name: a, concurrency: {max: 1}}]}`, []string{"spec.targetRefs[0].appliesTo"}},
	{"a limited namespace with a section", v1alpha1.KindRPCLimitPolicy,
		`{targetRefs: [{group: "", kind: Namespace, name: shop, appliesTo: Services, sectionName: A.B}], limits: [{name: a, concurrency: {max: 1}}]}`, []string{"spec.targetRefs[0].sectionName"}},
	{"no limit", v1alpha1.KindRPCLimitPolicy, `{targetRefs: [` + ref + `], limits: []}`, []string{"spec.limits"}},
	{"a limit of nothing", v1alpha1.KindRPCLimitPolicy, `{targetRefs: [` + ref + `], limits: [{name: a, by: Caller}]}`, []string{"spec.limits[0]"}},
	{"a concurrency limit without max", v1alpha1.KindRPCLimitPolicy, `{targetRefs: [` + ref + `], limits: [{name: a, concurrency: {}}]}`, []string{"spec.limits[0].concurrency.max"}},
	{"a limit name twice", v1alpha1.KindRPCLimitPolicy,
		`{targetRefs: [` + ref + `], limits: [{name: a, concurrency: {max: 1}}, {name: a, concurrency: {max: 2}}]}`, []string{"spec.limits[1]"}},
	{"a method twice in a limit", v1alpha1.KindRPCLimitPolicy, `{targetRefs: [` + ref + `], limits: [{name: a, methods: [A.B, A.B], concurrency: {max: 1}}]}`, []string{"spec.limits[0].methods[1]"}},
	{"callerNames by nobody", v1alpha1.KindRPCLimitPolicy, `{targetRefs: [` + ref + `], limits: [{name: a, callerNames: Proven, concurrency: {max: 1}}]}`, []string{"spec.limits[0].callerNames"}},
	{"callerNames by all", v1alpha1.KindRPCLimitPolicy, `{targetRefs: [` + ref + `], limits: [{name: a, by: All, callerNames: Declared, concurrency: {max: 1}}]}`, []string{"spec.limits[0].callerNames"}},
	{"rate interval too short", v1alpha1.KindRPCLimitPolicy, `{targetRefs: [` + ref + `], limits: [{name: a, rate: {count: 1, interval: 1ms}}]}`, []string{"spec.limits[0].rate.interval"}},
	{"rate interval too long", v1alpha1.KindRPCLimitPolicy, `{targetRefs: [` + ref + `], limits: [{name: a, rate: {count: 1, interval: 24h}}]}`, []string{"spec.limits[0].rate.interval"}},
	{"methods below a sectionName", v1alpha1.KindRPCLimitPolicy, `{targetRefs: [` + refMul + `], limits: [{name: a, methods: [A.B], concurrency: {max: 1}}]}`, []string{"spec.limits"}},
	{"a limited service twice", v1alpha1.KindRPCLimitPolicy, `{targetRefs: [` + ref + `, ` + ref + `], limits: [{name: a, concurrency: {max: 1}}]}`, []string{"spec.targetRefs"}},
	{"a limited method twice", v1alpha1.KindRPCLimitPolicy, `{targetRefs: [` + refMul + `, ` + refMul + `], limits: [{name: a, concurrency: {max: 1}}]}`, []string{"spec.targetRefs"}},
	{"a limit in another namespace", v1alpha1.KindRPCLimitPolicy, `{targetRefs: [` + refFar + `], limits: [{name: a, concurrency: {max: 1}}]}`, []string{"spec.targetRefs[0].namespace"}},
}

func TestRules(t *testing.T) {
	for _, test := range ruleTests {
		t.Run(test.kind+"/"+test.name, func(t *testing.T) {
			errs := definitionOf(t, test.kind).validate(objectWith(t, test.kind, test.spec))
			var got []string
			for _, err := range errs {
				got = append(got, err.Field)
			}
			slices.Sort(got)
			if diff := cmp.Diff(test.wrong, got); diff != "" {
				t.Errorf("fields complained about (-want +got):\n%s\nerrors: %v", diff, errs.ToAggregate())
			}
		})
	}
}

func objectWith(t *testing.T, kind, spec string) map[string]any {
	t.Helper()
	return decode(t, "apiVersion: "+v1alpha1.GroupVersion.String()+"\nkind: "+kind+"\nmetadata: {name: arith, namespace: shop}\nspec: "+spec+"\n")
}

// TestEveryRuleHasABadCase fails when a CEL rule is added that no case of ruleTests breaks.
func TestEveryRuleHasABadCase(t *testing.T) {
	index := regexp.MustCompile(`\[[0-9]+\]`)
	for _, kind := range kinds {
		broken := map[string]bool{}
		for _, test := range ruleTests {
			if test.kind != kind {
				continue
			}
			for _, err := range definitionOf(t, kind).validate(objectWith(t, kind, test.spec)) {
				broken[index.ReplaceAllString(err.Field, "[]")+": "+err.Detail] = true
			}
		}
		spec := definitionOf(t, kind).crd.Spec.Versions[0].Schema.OpenAPIV3Schema.Properties["spec"]
		walk("spec", spec, func(path string, s apiextensionsv1.JSONSchemaProps) {
			for _, rule := range s.XValidations {
				if !broken[path+rule.FieldPath+": "+rule.Message] && !brokenRequired(broken, path+rule.FieldPath, rule.Message) {
					t.Errorf("%s: no case breaks the rule %q of %s", kind, rule.Message, path)
				}
			}
		})
	}
}

// brokenRequired finds errors whose detail has more than the rule's message.
func brokenRequired(broken map[string]bool, path, message string) bool {
	for key := range broken {
		if strings.HasPrefix(key, path+": ") && strings.Contains(key, message) {
			return true
		}
	}
	return false
}
