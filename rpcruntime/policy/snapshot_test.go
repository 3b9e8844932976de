// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"slices"
	"strings"
	"testing"
	"time"
)

func TestMassLoss(t *testing.T) {
	for _, tt := range []struct {
		states string // Ready, Draining, Suspect by first letter
		want   bool
	}{
		{"", false}, {"RRR", false}, {"S", true}, {"RS", false}, {"RSS", true}, {"RRSS", false},
		// Terminating endpoints were told to go: they weigh on neither side.
		{"DDDRS", false}, {"DDDRSS", true}, {"DDD", false}, {"DDDS", true},
	} {
		var endpoints []Endpoint
		for _, s := range tt.states {
			endpoints = append(endpoints, Endpoint{State: map[rune]EndpointState{'R': Ready, 'D': Draining, 'S': Suspect}[s]})
		}
		if got := MassLoss(endpoints); got != tt.want {
			t.Errorf("%q: %v", tt.states, got)
		}
	}
}

func TestSnapshotMethods(t *testing.T) {
	s := Snapshot{Methods: Methods{Declared: []Method{{Name: "A.Get", Idempotent: true}, {Name: "A.Put"}}}}
	for _, tt := range []struct {
		name                          string
		declared, idempotent, refused bool
	}{{"A.Get", true, true, false}, {"A.Put", true, false, false}, {"A.Other", false, false, true}, {"", false, false, true}} {
		s.Methods.RefuseUndeclared = false
		if s.Declared(tt.name) != tt.declared || s.MethodIdempotent(tt.name) != tt.idempotent || s.Refused(tt.name) {
			t.Errorf("%q: %v %v %v", tt.name, s.Declared(tt.name), s.MethodIdempotent(tt.name), s.Refused(tt.name))
		}
		s.Methods.RefuseUndeclared = true
		if s.Refused(tt.name) != tt.refused {
			t.Errorf("%q: refused %v", tt.name, s.Refused(tt.name))
		}
	}
}

func TestSnapshotLayers(t *testing.T) {
	s := Snapshot{Layers: []Layer{
		layer(StepOwnerMethod, "A.Put", "a", 1, timeout(time.Second)),
		layer(StepCallerMethod, "A.Put", "b", 1, perTry(time.Second)),
		layer(StepCallerMethod, "A.Get", "b", 1, perTry(time.Second)),
		layer(StepOwnerService, "", "c", 1, timeout(time.Minute)),
	}}
	if got := s.LayeredMethods(); !slices.Equal(got, []string{"A.Get", "A.Put"}) {
		t.Errorf("%v", got)
	}
	if got := s.Effective("A.Put").Timeout; got != time.Second {
		t.Errorf("A.Put: %s", got)
	}
	if got := s.Effective("A.Other"); got.Timeout != time.Minute || got.PerTryTimeout != 0 {
		t.Errorf("A.Other: %+v", got)
	}
}

func TestValidateNames(t *testing.T) {
	for _, ok := range []string{"A.B", "_a", "pkg/Path.Method", "a-b.c", strings.Repeat("a", MaxMethodName)} {
		if err := ValidateMethodName(ok); err != nil {
			t.Error(err)
		}
	}
	for _, bad := range []string{"", "1a", ".a", "/a", "a b", "ä", "a\x00", strings.Repeat("a", MaxMethodName+1)} {
		if ValidateMethodName(bad) == nil {
			t.Errorf("method %q was accepted", bad)
		}
	}
	for _, ok := range []string{"shop/arith", "a/b.c", "1/2-3"} {
		if err := ValidateServiceName(ok); err != nil {
			t.Error(err)
		}
	}
	for _, bad := range []string{"", "arith", "/arith", "shop/", "a/b/c", "Shop/arith", "shop/-a", "shop/a.", "shop/" + strings.Repeat("a", 254)} {
		if ValidateServiceName(bad) == nil {
			t.Errorf("service %q was accepted", bad)
		}
	}
}

func TestValidateAddress(t *testing.T) {
	for _, ok := range []string{"10.0.0.7:8972", "[2001:db8::1]:1", "[fe80::1%eth0]:80", "localhost:65535", "a.b.Svc.:80"} {
		if err := ValidateAddress(ok); err != nil {
			t.Error(err)
		}
	}
	for _, bad := range []string{"", "10.0.0.7", "10.0.0.7:", "10.0.0.7:0", "10.0.0.7:65536", "10.0.0.7:+80", "10.0.0.7:http", ":80",
		"2001:db8::1:80", "0.0.0.0:80", "[::]:80", "a_b:80", "a b:80", "a..b/:80"} {
		if ValidateAddress(bad) == nil {
			t.Errorf("address %q was accepted", bad)
		}
	}
}

func TestSnapshotValidate(t *testing.T) {
	good := func() *Snapshot {
		return &Snapshot{Service: "shop/arith", Role: Caller, AsOf: NewAsOf(KindRevision{"a", 1, 1}),
			Endpoints: []Endpoint{{ID: "a", Addresses: []string{"10.0.0.1:1"}}, {ID: "b", Addresses: []string{"10.0.0.2:1", "[::1]:1"}}},
			Methods:   Methods{Declared: []Method{{Name: "A.B"}}},
			Layers:    []Layer{layer(StepOwnerService, "", "p", 1, timeout(time.Second))},
			Limits:    []Limit{{Name: "l", Source: Source{Namespace: "shop", Name: "p"}, Rate: &Rate{Count: 1, Interval: time.Second}}},
		}
	}
	if err := good().Validate(); err != nil {
		t.Fatal(err)
	}
	for name, spoil := range map[string]func(*Snapshot){
		"service":            func(s *Snapshot) { s.Service = "arith" },
		"role":               func(s *Snapshot) { s.Role = "" },
		"asOf":               func(s *Snapshot) { s.AsOf = AsOf{{}} },
		"no address":         func(s *Snapshot) { s.Endpoints[1].Addresses = nil },
		"address":            func(s *Snapshot) { s.Endpoints[1].Addresses[1] = "::1" },
		"endpoint id":        func(s *Snapshot) { s.Endpoints[0].ID = "" },
		"endpoint twice":     func(s *Snapshot) { s.Endpoints[0].ID = "b" },
		"state":              func(s *Snapshot) { s.Endpoints[0].State = 3 },
		"long zone":          func(s *Snapshot) { s.Endpoints[0].Zone = strings.Repeat("z", maxText+1) },
		"method":             func(s *Snapshot) { s.Methods.Declared[0].Name = "9" },
		"step":               func(s *Snapshot) { s.Layers[0].Step = StepDefault },
		"layer's method":     func(s *Snapshot) { s.Layers[0].Method = "9" },
		"long word":          func(s *Snapshot) { s.Layers[0].Fields.FailMode = FailMode(strings.Repeat("F", maxWord+1)) },
		"limit's name":       func(s *Snapshot) { s.Limits[0].Name = "" },
		"limit's rate":       func(s *Snapshot) { s.Limits[0].Rate.Count = 0 },
		"limit's interval":   func(s *Snapshot) { s.Limits[0].Rate.Interval = 0 },
		"limit's max":        func(s *Snapshot) { s.Limits[0].MaxConcurrent = -1 },
		"limit's by":         func(s *Snapshot) { s.Limits[0].By = "Key" },
		"limit's names":      func(s *Snapshot) { s.Limits[0].CallerNames = "Any" },
		"limit's section":    func(s *Snapshot) { s.Limits[0].Section = "A.B" },
		"limit's methods":    func(s *Snapshot) { s.Limits[0].Methods = []string{"9"} },
		"limit's long owner": func(s *Snapshot) { s.Limits[0].Source.Name = strings.Repeat("n", maxText+1) },
	} {
		s := good()
		spoil(s)
		if s.Validate() == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}
