// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package v1alpha1_test

import (
	"os"
	"slices"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairlead/fairlead/api/v1alpha1"
)

func TestCatalogueIsConsistent(t *testing.T) {
	perKind := map[string]int{}
	types := map[string]bool{}
	for _, condition := range v1alpha1.Catalogue() {
		if types[condition.Type] {
			t.Errorf("%s stands twice", condition.Type)
		}
		types[condition.Type] = true
		good := map[string]bool{}
		verdicts := map[string]bool{}
		for _, kind := range condition.Kinds {
			perKind[kind]++
		}
		for _, reason := range condition.Reasons {
			verdict := string(reason.Status) + "/" + reason.Reason
			if verdicts[verdict] {
				t.Errorf("%s=%s stands twice", condition.Type, verdict)
			}
			verdicts[verdict] = true
			for _, kind := range reason.Kinds {
				if !slices.Contains(condition.Kinds, kind) {
					t.Errorf("%s=%s names %s, which does not have the condition", condition.Type, verdict, kind)
				}
				good[kind] = good[kind] || reason.Status == condition.Good
			}
		}
		for _, kind := range condition.Kinds {
			if !good[kind] {
				t.Errorf("%s can never be good on %s", condition.Type, kind)
			}
		}
	}
	for kind, n := range perKind {
		if n > 8 {
			t.Errorf("%s has %d conditions, the schema allows 8", kind, n)
		}
	}
}

// TestCatalogueFitsTheSchema holds that every verdict can be stored, by every kind that can carry it.
func TestCatalogueFitsTheSchema(t *testing.T) {
	for _, condition := range v1alpha1.Catalogue() {
		for _, reason := range condition.Reasons {
			for _, kind := range reason.Kinds {
				obj := readFull(t, kind)
				entry := map[string]any{
					"type": condition.Type, "status": string(reason.Status), "reason": reason.Reason, "message": reason.Meaning,
					"observedGeneration": int64(1), "lastTransitionTime": "2026-11-23T16:00:00Z",
				}
				obj["status"].(map[string]any)["conditions"] = []any{entry}
				if condition.PerTarget && kind != v1alpha1.KindRPCService {
					ancestor := obj["status"].(map[string]any)["ancestors"].([]any)[0].(map[string]any)
					ancestor["conditions"] = []any{entry}
					ancestor["controllerName"] = v1alpha1.ControllerName
				}
				if errs := definitionOf(t, kind).validate(obj); len(errs) > 0 {
					t.Errorf("%s %s=%s/%s: %v", kind, condition.Type, reason.Status, reason.Reason, errs.ToAggregate())
				}
			}
		}
	}
}

func TestCataloguePolarity(t *testing.T) {
	for _, condition := range v1alpha1.Catalogue() {
		want := metav1.ConditionTrue
		if condition.Type == v1alpha1.ConditionDegraded {
			want = metav1.ConditionFalse
		}
		if condition.Good != want {
			t.Errorf("%s is good when %s, want %s", condition.Type, condition.Good, want)
		}
	}
}

// TestDocumentHasEveryVerdictAndField keeps docs/policies.md complete.
func TestDocumentHasEveryVerdictAndField(t *testing.T) {
	raw, err := os.ReadFile("../../docs/policies.md")
	if err != nil {
		t.Fatal(err)
	}
	rows := strings.Split(string(raw), "\n")
	for _, condition := range v1alpha1.Catalogue() {
		for _, reason := range condition.Reasons {
			want := []string{"`" + condition.Type + "`", string(reason.Status), "`" + reason.Reason + "`"}
			if !slices.ContainsFunc(rows, func(row string) bool { return startsWithCells(row, want) }) {
				t.Errorf("docs/policies.md has no row | %s |", strings.Join(want, " | "))
			}
		}
	}
	for _, kind := range kinds {
		present := map[string]bool{}
		full := readFull(t, kind)
		delete(full, "status")
		collect("", full, present)
		for path := range present {
			name, ok := strings.CutPrefix(path, "spec.")
			if !ok || strings.HasSuffix(name, "[]") || strings.Contains(name, ".matchLabels.") {
				continue
			}
			// What can be overridden is described once.
			name = strings.TrimPrefix(name, "overrides.")
			if !slices.ContainsFunc(rows, func(row string) bool { return startsWithCells(row, []string{"`" + name + "`"}) }) {
				t.Errorf("docs/policies.md has no row for %s %s", kind, name)
			}
		}
	}
}

func startsWithCells(row string, want []string) bool {
	cells := strings.Split(strings.Trim(row, "|"), "|")
	if len(cells) < len(want) {
		return false
	}
	for i := range want {
		if strings.TrimSpace(cells[i]) != want[i] {
			return false
		}
	}
	return true
}
