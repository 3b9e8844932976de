// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package crd

import (
	"testing"

	"k8s.io/apimachinery/pkg/types"
)

func TestJudge(t *testing.T) {
	tests := []struct {
		name   string
		before types.UID
		now    Reading
		want   Verdict
	}{
		{"never read before", "", Reading{State: Standing, UID: "a"}, Believe},
		{"the same as before", "a", Reading{State: Standing, UID: "a"}, Believe},
		{"another of that name", "a", Reading{State: Standing, UID: "b"}, Freeze},
		{"on its way out", "a", Reading{State: Terminating}, Freeze},
		{"not there", "a", Reading{State: Missing}, Freeze},
		{"no answer", "a", Reading{}, Wait},
		{"no answer ever", "", Reading{}, Wait},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if got := Judge(test.before, test.now); got != test.want {
				t.Errorf("%v, want %v", got, test.want)
			}
		})
	}
}
