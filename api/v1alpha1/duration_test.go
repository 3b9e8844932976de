// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package v1alpha1_test

import (
	"regexp"
	"testing"
	"time"

	"github.com/fairlead/fairlead/api/v1alpha1"
)

func TestDurationParse(t *testing.T) {
	good := map[v1alpha1.Duration]time.Duration{
		"0s":            0,
		"1ms":           time.Millisecond,
		"300ms":         300 * time.Millisecond,
		"1h30m":         90 * time.Minute,
		"1m1m":          2 * time.Minute,
		"1h2m3s4ms":     time.Hour + 2*time.Minute + 3*time.Second + 4*time.Millisecond,
		"99999h99999h":  199998 * time.Hour,
		"00001s":        time.Second,
		"10ms1s":        time.Second + 10*time.Millisecond,
		"99999h0m0s0ms": 99999 * time.Hour,
	}
	for text, want := range good {
		if got, err := text.Parse(); err != nil || got != want {
			t.Errorf("%q: got %v, %v, want %v", text, got, err, want)
		}
	}
	for _, text := range []v1alpha1.Duration{"", "5", "-5s", "+5s", "1.5s", "5us", "5µs", "5ns", "1d", "5 s", " 5s", "5s\n", "100000s", "1h1m1s1ms1s", "ms"} {
		if got, err := text.Parse(); err == nil {
			t.Errorf("%q: got %v, want an error", text, got)
		}
	}
}

// FuzzDurationParse holds that Parse and the schema's pattern accept the same texts.
func FuzzDurationParse(f *testing.F) {
	pattern := regexp.MustCompile(schemaPattern(f))
	for _, seed := range []string{"300ms", "1h30m", "5", "", "99999h99999h99999h99999h", "1s\n"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		parsed, err := v1alpha1.Duration(text).Parse()
		if accepted := pattern.MatchString(text); accepted != (err == nil) {
			t.Fatalf("%q: the pattern says %v, Parse says %v", text, accepted, err)
		}
		if parsed < 0 {
			t.Fatalf("%q: negative: %v", text, parsed)
		}
	})
}

func schemaPattern(f *testing.F) string {
	f.Helper()
	all, err := definitions()
	if err != nil {
		f.Fatal(err)
	}
	root := all[v1alpha1.KindRPCCallPolicy].crd.Spec.Versions[0].Schema.OpenAPIV3Schema
	return root.Properties["spec"].Properties["timeout"].Pattern
}
