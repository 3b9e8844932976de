// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package compile

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"github.com/fairlead/fairlead/api/v1alpha1"
	"github.com/fairlead/fairlead/rpcruntime/policy"
)

var update = flag.Bool("update", false, "write what the scenarios give into their files")

// TestScenarios plays testdata/*.txt. A file is a row of steps: a command line,
// input until a line "----", and the output that is expected, until an empty
// line. Lines that begin with "#" between steps are comments.
//
//	apply              input: manifests, split by "---"; output: the services concerned
//	delete KIND NS/NAME
//	show NS/NAME       endpoints, and the service's conditions
//	policies NS/NAME   conditions of each policy, for this target
//	status KIND NS/NAME  a policy's own status
//	explain NS/NAME METHOD CALLER-NAMESPACE   what a caller decodes and merges
//	limits NS/NAME     what a server decodes
//	self NAMESPACE uid=UID | ADDRESS...
func TestScenarios(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no scenarios: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			got := play(t, string(want))
			if *update {
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if diff := cmp.Diff(string(want), got); diff != "" {
				t.Errorf("-want +got\n%s", diff)
			}
		})
	}
}

// play runs a scenario and gives it back with the outputs that came.
func play(t *testing.T, script string) string {
	t.Helper()
	var out strings.Builder
	w := world{t: t, objects: NewObjects(Mode{Registered: strings.Contains(script, "# standalone")})}
	lines := strings.SplitAfter(script, "\n")
	for len(lines) > 0 {
		line := lines[0]
		lines = lines[1:]
		out.WriteString(line)
		if strings.HasPrefix(line, "#") || strings.TrimSpace(line) == "" {
			continue
		}
		end := slices.Index(lines, "----\n")
		if end < 0 {
			t.Fatalf("no ---- after %q", line)
		}
		input := strings.Join(lines[:end], "")
		out.WriteString(input + "----\n")
		lines = lines[end+1:]
		for len(lines) > 0 && strings.TrimSpace(lines[0]) != "" {
			lines = lines[1:]
		}
		out.WriteString(w.do(strings.Fields(line), input))
	}
	return out.String()
}

type world struct {
	t        *testing.T
	objects  *Objects
	revision uint64
}

func (w *world) do(command []string, input string) string {
	w.t.Helper()
	switch arg := command[1:]; command[0] {
	case "apply":
		return w.apply(input)
	case "delete":
		w.revision++
		return fmt.Sprintf("concerns %v\n", w.objects.Delete(arg[0], key(arg[1]), w.revision))
	case "show":
		return showService(w.compile(arg[0]))
	case "policies":
		return showTargets(w.compile(arg[0]))
	case "status":
		return w.status(arg[0], key(arg[1]))
	case "explain":
		return w.explain(arg[0], arg[1], arg[2])
	case "limits":
		return w.limits(arg[0])
	case "self":
		who := Identity{Namespace: arg[0]}
		for _, a := range arg[1:] {
			if uid, found := strings.CutPrefix(a, "uid="); found {
				who.PodUID = uid
			} else {
				who.Addresses = append(who.Addresses, a)
			}
		}
		return fmt.Sprintf("%+v\n", w.objects.Self(who))
	default:
		w.t.Fatalf("no command %q", command)
		return ""
	}
}

func key(s string) Key {
	namespace, name, _ := strings.Cut(s, "/")
	return Key{Namespace: namespace, Name: name}
}

func (w *world) compile(service string) ServiceOutput { return Service(w.objects.Input(key(service))) }

func (w *world) apply(input string) string {
	w.t.Helper()
	var concerned []Key
	for _, doc := range strings.Split(input, "---\n") {
		w.revision++
		keys, err := w.objects.Set(parse(w.t, doc), w.revision)
		if err != nil {
			w.t.Fatal(err)
		}
		concerned = append(concerned, keys...)
	}
	slices.SortFunc(concerned, compareKeys)
	return fmt.Sprintf("concerns %v\n", slices.Compact(concerned))
}

type instanceManifest struct {
	metav1.TypeMeta `json:",inline"`
	Instance        `json:",inline"`
}

// parse reads one manifest, strictly. The kind Instance is the tests' own.
func parse(t *testing.T, doc string) any {
	t.Helper()
	var meta metav1.TypeMeta
	if err := yaml.Unmarshal([]byte(doc), &meta); err != nil {
		t.Fatalf("%v in\n%s", err, doc)
	}
	var into any
	switch meta.Kind {
	case KindRPCService:
		into = &v1alpha1.RPCService{}
	case KindRPCCallPolicy:
		into = &v1alpha1.RPCCallPolicy{}
	case KindRPCLimitPolicy:
		into = &v1alpha1.RPCLimitPolicy{}
	case KindService:
		into = &corev1.Service{}
	case KindEndpointSlice:
		into = &discoveryv1.EndpointSlice{}
	case KindNamespace:
		into = &metav1.PartialObjectMetadata{}
	case KindInstance:
		into = &instanceManifest{}
	default:
		t.Fatalf("no kind %q", meta.Kind)
	}
	if err := yaml.UnmarshalStrict([]byte(doc), into); err != nil {
		t.Fatalf("%v in\n%s", err, doc)
	}
	if i, ok := into.(*instanceManifest); ok {
		return &i.Instance
	}
	return into
}

func showService(o ServiceOutput) string {
	var b bytes.Buffer
	for _, e := range o.Endpoints {
		fmt.Fprintf(&b, "%s %s %s", e.ID, [...]string{"ready", "draining", "suspect"}[e.State], strings.Join(e.Addresses, " "))
		for _, f := range []struct{ name, value string }{
			{"pod", e.PodUID}, {"zone", e.Zone}, {"hints", strings.Join(e.ZoneHints, ",")},
		} {
			if f.value != "" {
				fmt.Fprintf(&b, " %s=%s", f.name, f.value)
			}
		}
		b.WriteByte('\n')
	}
	var parts []string
	for _, p := range o.Parts {
		parts = append(parts, p.Name)
	}
	fmt.Fprintf(&b, "parts %v%s\n", parts, showCounts(o.Counts))
	if o.Consumers != nil {
		fmt.Fprintf(&b, "consumers %v\n", o.Consumers)
	}
	if o.Report != nil {
		showConditions(&b, o.Report.Conditions)
		fmt.Fprintf(&b, "endpoints %s mass loss %v\n", o.Report.Summary.Endpoints, o.Report.MassLoss)
	}
	return b.String()
}

// showCounts leaves out what is 0.
func showCounts(c Counts) string {
	var b strings.Builder
	v := reflect.ValueOf(c)
	for i := range v.NumField() {
		if n := v.Field(i).Int(); n > 0 {
			fmt.Fprintf(&b, " %s:%d", v.Type().Field(i).Name, n)
		}
	}
	return b.String()
}

// showConditions leaves out what is as it should be: Accepted=True Accepted.
func showConditions(b *bytes.Buffer, conditions []metav1.Condition) {
	for _, c := range conditions {
		if c.Status == metav1.ConditionTrue && c.Reason == c.Type {
			continue
		}
		fmt.Fprintf(b, "  %s=%s %s: %s\n", c.Type, c.Status, c.Reason, c.Message)
	}
}

func showTargets(o ServiceOutput) string {
	var b bytes.Buffer
	for _, r := range o.Targets {
		fmt.Fprintf(&b, "%s %s %s attached %v\n", r.Kind, r.Policy, r.Section, r.Attached)
		showConditions(&b, r.Conditions)
	}
	return b.String()
}

func (w *world) status(kind string, of Key) string {
	w.t.Helper()
	var book Book
	for _, k := range w.objects.Services() {
		book.Set(nil, w.compile(k.String()).Targets)
	}
	if p := w.objects.CallPolicy(of); p != nil {
		for _, t := range callTargets(p) { // some may not exist
			out := w.compile(t.Service.String())
			book.Set(out.Targets, out.Targets)
		}
	}
	reports := book.Reports
	var s v1alpha1.PolicyStatus
	if kind == KindRPCCallPolicy {
		s = CallPolicyStatus(w.objects.CallPolicy(of), reports)
	} else {
		s = LimitPolicyStatus(w.objects.LimitPolicy(of), reports)
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, "targets %s generation %d\n", s.Summary.Targets, s.ObservedGeneration)
	showConditions(&b, s.Conditions)
	for _, a := range s.Ancestors {
		if a.AncestorRef.Kind == KindNamespace {
			fmt.Fprintf(&b, "Namespace %s %s\n", a.AncestorRef.Name, deref(a.AncestorRef.AppliesTo))
			continue
		}
		fmt.Fprintf(&b, "%s %s/%s %s\n", a.AncestorRef.Kind, *a.AncestorRef.Namespace, a.AncestorRef.Name, deref(a.AncestorRef.SectionName))
	}
	return b.String()
}

// decode gives what a subscriber makes of its parts.
func (w *world) decode(service string, role policy.Role, namespace string) *policy.Snapshot {
	w.t.Helper()
	o := w.compile(service)
	parts := o.PartsFor(role, namespace)
	for i := range parts {
		if err := parts[i].Verify(); err != nil {
			w.t.Fatal(err)
		}
	}
	s, err := policy.Decode(service, role, parts)
	if err != nil {
		w.t.Fatal(err)
	}
	return s
}

func (w *world) explain(service, method, namespace string) string {
	w.t.Helper()
	s := w.decode(service, policy.Caller, namespace)
	var b strings.Builder
	fmt.Fprintf(&b, "idempotent %v refused %v\n", s.MethodIdempotent(method), s.Refused(method))
	by := func(s policy.Source) string {
		if s == (policy.Source{}) {
			return "default"
		}
		return s.Namespace + "/" + s.Name + " gen " + strconv.FormatInt(s.Generation, 10)
	}
	e := s.Effective(method)
	for _, f := range e.Fields {
		if f.Source == (policy.Source{}) {
			continue
		}
		fmt.Fprintf(&b, "%s %s (%s)", f.Name, f.Value, by(f.Source))
		for _, was := range f.InsteadOf {
			fmt.Fprintf(&b, " instead of %s (%s)", was.Value, by(was.Source))
		}
		b.WriteByte('\n')
	}
	for _, f := range e.Fallbacks {
		fmt.Fprintf(&b, "not %s %s (%s): %s\n", f.Field, f.Value, by(f.Source), f.Reason)
	}
	return b.String()
}

func (w *world) limits(service string) string {
	w.t.Helper()
	var b strings.Builder
	for _, l := range w.decode(service, policy.Server, "").Limits {
		fmt.Fprintf(&b, "%s methods %v by %q %q", l.ID(), l.Methods, l.By, l.CallerNames)
		if l.Rate != nil {
			fmt.Fprintf(&b, " rate %d per %s burst %d", l.Rate.Count, l.Rate.Interval, l.Burst)
		}
		fmt.Fprintf(&b, " concurrent %d\n", l.MaxConcurrent)
	}
	return b.String()
}
