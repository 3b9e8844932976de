// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"
	"time"
)

func ptr[T any](v T) *T { return &v }

func timeout(d time.Duration) CallFields { return CallFields{Timeout: &d} }

func perTry(d time.Duration) CallFields { return CallFields{PerTryTimeout: &d} }

// layer makes one whose source is shop/NAME, created at the given second.
func layer(step Step, method, name string, created int64, fields CallFields) Layer {
	return Layer{Step: step, Method: method, Fields: fields,
		Source: Source{Kind: "RPCCallPolicy", Namespace: "shop", Name: name, Created: created}}
}

func fieldOf(t *testing.T, e Effective, name string) Field {
	t.Helper()
	for _, f := range e.Fields {
		if f.Name == name {
			return f
		}
	}
	t.Fatalf("no field %q in %+v", name, e.Fields)
	return Field{}
}

func TestMergeDefaults(t *testing.T) {
	e := Merge(nil, "")
	want := Effective{
		Timeout: 10 * time.Second, FailMode: Failover, Attempts: 2,
		Backoff:      Backoff{Base: 10 * time.Millisecond, Max: time.Second},
		Budget:       Budget{Percent: 20, Interval: 10 * time.Second},
		MinRetryRate: Rate{Count: 10, Interval: time.Second}, LoadBalancer: LeastRequest,
		Fields: []Field{
			{Name: "timeout", Value: "10s", Step: StepDefault},
			{Name: "failMode", Value: "Failover", Step: StepDefault},
			{Name: "retry.attempts", Value: "2", Step: StepDefault},
			{Name: "retry.backoff", Value: "{base: 10ms, max: 1s}", Step: StepDefault},
			{Name: "retry.budget", Value: "{percent: 20, interval: 10s}", Step: StepDefault},
			{Name: "retry.minRetryRate", Value: "{count: 10, interval: 1s}", Step: StepDefault},
			{Name: "loadBalancer.type", Value: "LeastRequest", Step: StepDefault},
		},
	}
	if !reflect.DeepEqual(e, want) {
		t.Errorf("got  %+v\nwant %+v", e, want)
	}
}

// Each step beats all weaker ones, and says so strongest first.
func TestMergeSteps(t *testing.T) {
	steps := []Step{StepOwnerNamespace, StepOwnerService, StepOwnerMethod, StepCallerNamespace,
		StepCallerService, StepCallerMethod, StepOverrideMethod, StepOverrideService, StepOverrideNamespace, StepOverrideNamespace + 10}
	var layers []Layer
	for i, step := range steps {
		d := time.Duration(i+1) * time.Second
		method := ""
		if step == StepOwnerMethod || step == StepCallerMethod || step == StepOverrideMethod {
			method = "A.B"
		}
		// Younger and later by name than all before: neither must matter.
		layers = append(layers, layer(step, method, string(rune('a'+i)), int64(100+i), timeout(d)))
		f := fieldOf(t, Merge(layers, "A.B"), "timeout")
		if f.Value != showDuration(d) || f.Step != step || f.Source != layers[i].Source {
			t.Errorf("up to step %d: %+v", step, f)
		}
		if len(f.InsteadOf) != i+1 || f.InsteadOf[i].Value != "10s" || f.InsteadOf[i].Step != StepDefault {
			t.Errorf("up to step %d: instead of %+v", step, f.InsteadOf)
		}
		if i > 0 && f.InsteadOf[0].Source != layers[i-1].Source {
			t.Errorf("up to step %d: strongest overridden is %+v", step, f.InsteadOf[0])
		}
	}
}

// What a step is called, and whose it is, says no more than its number does.
func TestSteps(t *testing.T) {
	for step, want := range map[Step]struct {
		name              string
		caller, overrides bool
	}{
		StepDefault:           {"default", false, false},
		StepOwnerNamespace:    {"owner's namespace", false, false},
		StepOwnerService:      {"owner's service", false, false},
		StepOwnerMethod:       {"owner's method", false, false},
		StepCallerNamespace:   {"caller's namespace", true, false},
		StepCallerService:     {"caller's service", true, false},
		StepCallerMethod:      {"caller's method", true, false},
		StepOverrideMethod:    {"override of the method", false, true},
		StepOverrideService:   {"override of the service", false, true},
		StepOverrideNamespace: {"override of the namespace", false, true},
		110:                   {"step 110", false, true},
	} {
		if step.String() != want.name || step.Caller() != want.caller || step.Overrides() != want.overrides {
			t.Errorf("%d is %s, caller %v, overrides %v; want %+v", step, step, step.Caller(), step.Overrides(), want)
		}
	}
}

// An override wins field by field, and what it leaves free stays the caller's.
func TestMergeOverrides(t *testing.T) {
	layers := []Layer{
		layer(StepOwnerService, "", "owner", 1, CallFields{Timeout: ptr(time.Second), Attempts: ptr(int32(4))}),
		layer(StepCallerMethod, "A.B", "caller", 1, CallFields{Timeout: ptr(2 * time.Second), Attempts: ptr(int32(5)), LoadBalancer: Random}),
		layer(StepOverrideService, "", "owner", 1, CallFields{Timeout: ptr(3 * time.Second)}),
		layer(StepOverrideMethod, "A.B", "narrow", 0, CallFields{Timeout: ptr(4 * time.Second), FailMode: Failfast}),
	}
	e := Merge(layers, "A.B")
	if e.Timeout != 3*time.Second || e.Attempts != 5 || e.LoadBalancer != Random || e.FailMode != Failfast {
		t.Errorf("got %+v", e)
	}
	if e := Merge(layers, "A.C"); e.Timeout != 3*time.Second || e.Attempts != 4 || e.FailMode != Failover {
		t.Errorf("another method gets %+v", e)
	}
	// What does not go together gives way at the strongest, overrides included.
	e = Merge(append(layers, layer(StepOverrideNamespace, "", "wide", 1, perTry(time.Minute))), "A.B")
	if e.PerTryTimeout != 0 || len(e.Fallbacks) != 1 || e.Fallbacks[0].Source.Name != "wide" || e.Fallbacks[0].Step != StepOverrideNamespace {
		t.Errorf("got %+v", e)
	}
}

func TestFeature(t *testing.T) {
	for field, want := range map[string]string{"timeout": "timeout", "retry.budget": "retry", "loadBalancer.type": "loadBalancer"} {
		if got := Feature(field); got != want {
			t.Errorf("%s needs %s, want %s", field, got, want)
		}
	}
	if f := (&CallFields{}); !f.Empty() {
		t.Error("nothing is set, and it is not empty")
	}
	if f := (&CallFields{LoadBalancer: Random}); f.Empty() {
		t.Error("something is set, and it is empty")
	}
}

func TestMergeWithinStep(t *testing.T) {
	const step = StepOwnerService
	tests := []struct {
		name   string
		layers []Layer
		want   time.Duration
	}{
		{"older wins", []Layer{
			layer(step, "", "a", 200, timeout(1*time.Second)),
			layer(step, "", "b", 100, timeout(2*time.Second)),
		}, 2 * time.Second},
		{"same age: first name wins", []Layer{
			layer(step, "", "b", 100, timeout(1*time.Second)),
			layer(step, "", "a", 100, timeout(2*time.Second)),
		}, 2 * time.Second},
		{"namespace comes before name", []Layer{
			{Step: step, Source: Source{Namespace: "a", Name: "z"}, Fields: timeout(2 * time.Second)},
			{Step: step, Source: Source{Namespace: "b", Name: "a"}, Fields: timeout(1 * time.Second)},
		}, 2 * time.Second},
		{"the younger still sets what the older leaves", []Layer{
			layer(step, "", "young", 200, timeout(3*time.Second)),
			layer(step, "", "old", 100, CallFields{FailMode: Failfast}),
		}, 3 * time.Second},
		{"the same object twice: some order, and always the same", []Layer{
			layer(step, "", "a", 1, timeout(1*time.Second)),
			layer(step, "", "a", 1, timeout(2*time.Second)),
		}, 2 * time.Second},
		{"other methods' layers are left out", []Layer{
			layer(StepOwnerMethod, "A.C", "x", 1, timeout(9*time.Second)),
			layer(step, "", "y", 1, timeout(4*time.Second)),
		}, 4 * time.Second},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := Merge(tt.layers, "A.B").Timeout; got != tt.want {
				t.Errorf("timeout %s, want %s", got, tt.want)
			}
			slices.Reverse(tt.layers)
			if got := Merge(tt.layers, "A.B").Timeout; got != tt.want {
				t.Errorf("reversed: timeout %s, want %s", got, tt.want)
			}
		})
	}
}

// Every leaf is taken by itself: one layer per leaf, each by another object.
func TestMergeByLeaf(t *testing.T) {
	layers := []Layer{
		layer(StepOwnerService, "", "a", 1, CallFields{Attempts: ptr(int32(5)), FailMode: Failfast}),
		layer(StepOwnerService, "", "b", 2, CallFields{Attempts: ptr(int32(6)), Backoff: &Backoff{Base: time.Second, Max: time.Minute}}),
		layer(StepCallerService, "", "c", 3, CallFields{LoadBalancer: Random, Budget: &Budget{Percent: 0, Interval: time.Second}}),
		layer(StepCallerMethod, "A.B", "d", 4, CallFields{MinRetryRate: &Rate{Count: 0, Interval: time.Second}, PerTryTimeout: ptr(time.Second)}),
	}
	e := Merge(layers, "A.B")
	if e.Attempts != 5 || e.FailMode != Failfast || e.Backoff.Max != time.Minute || e.LoadBalancer != Random ||
		e.Budget.Percent != 0 || e.MinRetryRate.Count != 0 || e.PerTryTimeout != time.Second || e.Timeout != 10*time.Second {
		t.Errorf("got %+v", e)
	}
	if len(e.Fallbacks) != 0 {
		t.Errorf("fallbacks: %+v", e.Fallbacks)
	}
	for name, by := range map[string]string{"retry.attempts": "a", "failMode": "a", "retry.backoff": "b",
		"loadBalancer.type": "c", "retry.budget": "c", "retry.minRetryRate": "d", "retry.perTryTimeout": "d", "timeout": ""} {
		if got := fieldOf(t, e, name).Source.Name; got != by {
			t.Errorf("%s set by %q, want %q", name, got, by)
		}
	}
	if f := fieldOf(t, e, "retry.perTryTimeout"); len(f.InsteadOf) != 0 {
		t.Errorf("perTryTimeout has no default, got instead of %+v", f.InsteadOf)
	}
}

func TestMergeFallsBack(t *testing.T) {
	second := time.Second
	type lost struct{ field, by string }
	tests := []struct {
		name    string
		layers  []Layer
		timeout time.Duration
		perTry  time.Duration
		lost    []lost
	}{
		{"the caller's perTryTimeout breaks the owner's timeout", []Layer{
			layer(StepOwnerService, "", "owner", 1, timeout(second)),
			layer(StepCallerService, "", "caller", 1, perTry(2*second)),
		}, second, 0, []lost{{"retry.perTryTimeout", "caller"}}},
		{"the caller's timeout breaks the owner's perTryTimeout", []Layer{
			layer(StepOwnerService, "", "owner", 1, perTry(2*second)),
			layer(StepCallerService, "", "caller", 1, timeout(second)),
		}, 10 * second, 2 * second, []lost{{"timeout", "caller"}}},
		{"to the next weaker, not to the default", []Layer{
			layer(StepOwnerService, "", "owner", 1, CallFields{Timeout: ptr(3 * second), PerTryTimeout: ptr(2 * second)}),
			layer(StepCallerService, "", "caller", 1, timeout(second)),
		}, 3 * second, 2 * second, []lost{{"timeout", "caller"}}},
		{"one layer breaks itself: perTryTimeout gives way", []Layer{
			layer(StepOwnerService, "", "owner", 1, CallFields{Timeout: ptr(second), PerTryTimeout: ptr(2 * second)}),
		}, second, 0, []lost{{"retry.perTryTimeout", "owner"}}},
		{"above the default timeout", []Layer{
			layer(StepOwnerService, "", "owner", 1, perTry(11*second)),
		}, 10 * second, 0, []lost{{"retry.perTryTimeout", "owner"}}},
		{"equal is valid", []Layer{
			layer(StepOwnerService, "", "owner", 1, CallFields{Timeout: ptr(second), PerTryTimeout: ptr(second)}),
		}, second, second, nil},
		{"the caller's is taken back when the owner's gives way", []Layer{
			layer(StepOwnerService, "", "service", 1, timeout(2*second)),
			layer(StepOwnerMethod, "A.B", "method", 1, perTry(5*second)),
			layer(StepCallerService, "", "caller", 1, timeout(second)),
		}, second, 0, []lost{{"retry.perTryTimeout", "method"}}},
		{"invalid alone", []Layer{
			layer(StepOwnerService, "", "owner", 1, timeout(5*second)),
			layer(StepCallerService, "", "zero", 1, timeout(0)),
			layer(StepCallerMethod, "A.B", "endless", 1, timeout(MaxDuration+1)),
		}, 5 * second, 0, []lost{{"timeout", "endless"}, {"timeout", "zero"}}},
		{"invalid but overridden is nobody's business", []Layer{
			layer(StepOwnerService, "", "zero", 1, timeout(0)),
			layer(StepCallerService, "", "caller", 1, timeout(5*second)),
		}, 5 * second, 0, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			e := Merge(tt.layers, "A.B")
			if e.Timeout != tt.timeout || e.PerTryTimeout != tt.perTry {
				t.Errorf("timeout %s, perTryTimeout %s; want %s, %s", e.Timeout, e.PerTryTimeout, tt.timeout, tt.perTry)
			}
			var got []lost
			for _, f := range e.Fallbacks {
				got = append(got, lost{f.Field, f.Source.Name})
				if f.Reason == "" || f.Value == "" {
					t.Errorf("says too little: %+v", f)
				}
			}
			if !slices.Equal(got, tt.lost) {
				t.Errorf("fell back: %v, want %v", got, tt.lost)
			}
		})
	}
}

// Whatever a single leaf holds, what is invalid alone falls back to the default.
func TestMergeInvalidLeaf(t *testing.T) {
	for name, fields := range map[string][]CallFields{
		"failMode":            {{FailMode: "Failtry"}, {FailMode: "failover"}},
		"loadBalancer.type":   {{LoadBalancer: "PeakEWMA"}},
		"retry.attempts":      {{Attempts: ptr(int32(0))}, {Attempts: ptr(int32(-1))}, {Attempts: ptr(int32(MaxAttempts + 1))}},
		"retry.perTryTimeout": {perTry(0), perTry(-1), perTry(MaxDuration + 1)},
		"retry.backoff": {{Backoff: &Backoff{}}, {Backoff: &Backoff{Base: 2, Max: 1}},
			{Backoff: &Backoff{Base: 1, Max: MaxDuration + 1}}},
		"retry.budget":       {{Budget: &Budget{Percent: 101, Interval: 1}}, {Budget: &Budget{Percent: -1, Interval: 1}}, {Budget: &Budget{Percent: 1}}},
		"retry.minRetryRate": {{MinRetryRate: &Rate{Count: -1, Interval: 1}}, {MinRetryRate: &Rate{Count: 1, Interval: -1}}},
	} {
		for _, f := range fields {
			e := Merge([]Layer{layer(StepOwnerService, "", "a", 1, f)}, "")
			if len(e.Fallbacks) != 1 || e.Fallbacks[0].Field != name || e.Fallbacks[0].Source.Name != "a" {
				t.Errorf("%s: %+v", name, e.Fallbacks)
			}
			e.Fallbacks = nil
			if !reflect.DeepEqual(e, Merge(nil, "")) {
				t.Errorf("%s: not the defaults: %+v", name, e)
			}
		}
	}
}

// checkValid holds for every Effective.
func checkValid(t *testing.T, e Effective) {
	t.Helper()
	f := CallFields{Timeout: &e.Timeout, FailMode: e.FailMode, Attempts: &e.Attempts, Backoff: &e.Backoff,
		Budget: &e.Budget, MinRetryRate: &e.MinRetryRate, LoadBalancer: e.LoadBalancer}
	if e.PerTryTimeout != 0 {
		f.PerTryTimeout = &e.PerTryTimeout
	}
	for i := range leaves {
		if leaves[i].set(&f) {
			if r := leaves[i].wrong(&f); r != "" {
				t.Errorf("invalid: %s", r)
			}
		}
	}
	if e.PerTryTimeout > e.Timeout || e.Backoff.Base > e.Backoff.Max {
		t.Errorf("invalid: %+v", e)
	}
	for _, b := range e.Fallbacks {
		if b.Reason == "" || b.Source == (Source{}) {
			t.Errorf("fallback %+v", b)
		}
	}
}

// program makes layers out of bytes, some valid and some not, with few enough
// names and ages that they collide.
type program struct{ rest []byte }

func (p *program) byte() byte {
	if len(p.rest) == 0 {
		return 0
	}
	b := p.rest[0]
	p.rest = p.rest[1:]
	return b
}

func (p *program) duration() time.Duration {
	return [...]time.Duration{-1, 0, 1, time.Millisecond, time.Second, 2 * time.Second, 9 * time.Second,
		11 * time.Second, MaxDuration, MaxDuration + 1, 1<<63 - 1, -1 << 63}[p.byte()%12]
}

func (p *program) count() int32 {
	return [...]int32{0, 1, 2, 100, 101, -1, 1<<31 - 1, -1 << 31}[p.byte()%8]
}

func (p *program) layers() []Layer {
	var layers []Layer
	for len(p.rest) > 0 && len(layers) < 64 {
		l := Layer{
			Step:   Step(p.byte() % 120),
			Method: [...]string{"", "", "A.B", "A.C"}[p.byte()%4],
			Source: Source{Namespace: string('a' + rune(p.byte()%2)), Name: string('a' + rune(p.byte()%3)), Created: int64(p.byte() % 3)},
		}
		which, f := p.byte(), &l.Fields
		for bit := range 8 {
			if which>>bit&1 == 0 {
				continue
			}
			switch bit {
			case 0:
				f.Timeout = ptr(p.duration())
			case 1:
				f.FailMode = [...]FailMode{Failfast, Failover, "Failtry"}[p.byte()%3]
			case 2:
				f.Attempts = ptr(p.count())
			case 3:
				f.PerTryTimeout = ptr(p.duration())
			case 4:
				f.Backoff = &Backoff{Base: p.duration(), Max: p.duration()}
			case 5:
				f.Budget = &Budget{Percent: p.count(), Interval: p.duration()}
			case 6:
				f.MinRetryRate = &Rate{Count: p.count(), Interval: p.duration()}
			case 7:
				f.LoadBalancer = [...]LoadBalancer{Random, RoundRobin, LeastRequest, "Closest"}[p.byte()%4]
			}
		}
		layers = append(layers, l)
	}
	return layers
}

func checkMerge(t *testing.T, bytes []byte, shuffle *rand.Rand) {
	t.Helper()
	layers := (&program{rest: bytes}).layers()
	e := Merge(layers, "A.B")
	checkValid(t, e)
	for range 3 {
		shuffle.Shuffle(len(layers), func(i, j int) { layers[i], layers[j] = layers[j], layers[i] })
		if again := Merge(layers, "A.B"); !reflect.DeepEqual(e, again) {
			t.Fatalf("order matters: %+v\n%+v\nlayers %+v", e, again, layers)
		}
	}
	// What fell back is in force nowhere: without it nothing changes. Layers are
	// made to differ, or it would not be clear whose value to take away.
	for i := range layers {
		layers[i].Source.Generation = int64(i)
	}
	e = Merge(layers, "A.B")
	if without := Merge(withoutFallen(layers, e), "A.B"); len(without.Fallbacks) != 0 || !sameValues(e, without) {
		t.Fatalf("fallbacks matter: %+v\n%+v", e, without)
	}
}

// withoutFallen takes the values that fell back out of their layers.
func withoutFallen(layers []Layer, e Effective) []Layer {
	out := slices.Clone(layers)
	for i := range out {
		for l := range leaves {
			f := &out[i].Fields
			if leaves[l].set(f) && slices.ContainsFunc(e.Fallbacks, func(b Fallback) bool {
				return b.Field == leaves[l].name && b.Source == out[i].Source && b.Step == out[i].Step && b.Value == leaves[l].show(f)
			}) {
				leaves[l].take(f, &CallFields{})
			}
		}
	}
	return out
}

func sameValues(a, b Effective) bool {
	a.Fields, b.Fields, a.Fallbacks, b.Fallbacks = nil, nil, nil, nil
	return reflect.DeepEqual(a, b)
}

func TestMergeProperties(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for range 300 {
		bytes := make([]byte, random.IntN(150))
		for i := range bytes {
			bytes[i] = byte(random.Uint32())
		}
		checkMerge(t, bytes, random)
	}
}

func FuzzMerge(f *testing.F) {
	f.Add([]byte("any layers at all will do here"))
	f.Fuzz(func(t *testing.T, bytes []byte) { checkMerge(t, bytes, rand.New(rand.NewPCG(3, 4))) })
}

func TestShowDuration(t *testing.T) {
	for d, want := range map[time.Duration]string{
		300 * time.Millisecond: "300ms", time.Minute: "1m", 90 * time.Minute: "1h30m", 24 * time.Hour: "24h",
		1500 * time.Millisecond: "1s500ms", 0: "0s", time.Microsecond: "1µs",
	} {
		if got := showDuration(d); got != want {
			t.Errorf("%d: %s, want %s", d, got, want)
		}
	}
}
