// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"errors"
	"strings"
	"testing"

	"github.com/go-logr/logr/funcr"
)

// TestReadinessSaysWhatItWaitsFor walks through a start; each step is asked for
// often and said once.
func TestReadinessSaysWhatItWaitsFor(t *testing.T) {
	var lines []string
	var problem error
	var kinds []string
	var known, published, listening bool
	r := &readiness{
		definitions: func() error { return problem }, waiting: func() ([]string, bool) { return kinds, known },
		published: func() bool { return published }, listening: func() bool { return listening },
		log: funcr.New(func(_, args string) { lines = append(lines, args) }, funcr.Options{}),
	}
	says := func(want string) {
		t.Helper()
		lines = nil
		for range 10 {
			switch err := r.check(nil); {
			case want == "" && err != nil, want != "" && (err == nil || !strings.Contains(err.Error(), want)):
				t.Errorf("%v, want %q", err, want)
			}
		}
		if len(lines) != 1 || !strings.Contains(lines[0], want) {
			t.Errorf("%q was logged, want one line with %q", lines, want)
		}
	}
	problem = errors.New("too old")
	says("/readyz/definitions")
	problem = nil
	says("kube-system")
	known, kinds = true, []string{"Pod", "Service"}
	says("list Pod, Service")
	kinds = nil
	says("published")
	published = true
	says("certificate")
	listening = true
	says("")
	problem = errors.New("the API server is away") // ready stays ready
	for range 10 {
		if err := r.check(nil); err != nil {
			t.Error(err)
		}
	}
	if len(lines) != 1 {
		t.Errorf("%q", lines)
	}
}
