// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package status

import (
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairlead/fairlead/api/v1alpha1"
	"github.com/fairlead/fairlead/controllers/registry/publish"
	"github.com/fairlead/fairlead/internal/compile"
)

// TestDegradedIsHeld: a loss is reported after 5 s, its end at once.
func TestDegradedIsHeld(t *testing.T) {
	start := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
	state := func(since time.Time) *publish.ServiceState {
		return &publish.ServiceState{
			Object: &v1alpha1.RPCService{ObjectMeta: metav1.ObjectMeta{Generation: 4}}, LossSince: since,
			Report: &compile.ServiceReport{Conditions: make([]metav1.Condition, 1, 8)},
		}
	}
	tests := []struct {
		name  string
		since time.Time
		after time.Duration
		want  metav1.ConditionStatus
		again time.Duration
	}{
		{"no loss", time.Time{}, 0, metav1.ConditionFalse, 0},
		{"just now", start, 0, metav1.ConditionFalse, 5 * time.Second},
		{"almost long enough", start, 4 * time.Second, metav1.ConditionFalse, time.Second},
		{"long enough", start, 5 * time.Second, metav1.ConditionTrue, 0},
		{"much later", start, time.Hour, metav1.ConditionTrue, 0},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s := state(test.since)
			status, again := desire(s, start.Add(test.after))
			c := meta.FindStatusCondition(status.Conditions, v1alpha1.ConditionDegraded)
			if c == nil || c.Status != test.want || c.ObservedGeneration != 4 {
				t.Errorf("Degraded is %+v, want %s", c, test.want)
			}
			if again != test.again {
				t.Errorf("looks again after %s, want %s", again, test.again)
			}
			if spare := s.Report.Conditions[:2][1]; spare.Type != "" {
				t.Error("the report is shared, and was written to")
			}
		})
	}
}
