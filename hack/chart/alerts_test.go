// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package chart

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	monitoringv1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	"github.com/prometheus/prometheus/promql/parser"
	"k8s.io/apimachinery/pkg/runtime"
)

// TestAlerts: each expression is one, and asks for metrics that the operator
// has; each alert stands in the manual.
func TestAlerts(t *testing.T) {
	r := mustRender(t, "fairlead", values{"metrics.prometheusRule.enabled": true}, modern)
	rule := &monitoringv1.PrometheusRule{}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructuredWithValidation(r.find("PrometheusRule", "fairlead-manager").Object, rule, true); err != nil {
		t.Fatal(err)
	}
	exported := metrics(t)
	manual, err := os.ReadFile(root("docs", "operations.md"))
	if err != nil {
		t.Fatal(err)
	}
	count := 0
	for _, group := range rule.Spec.Groups {
		for _, alert := range group.Rules {
			count++
			expression, err := parser.ParseExpr(alert.Expr.String())
			if err != nil {
				t.Errorf("%s: %v", alert.Alert, err)
				continue
			}
			for _, selectors := range parser.ExtractSelectors(expression) {
				for _, m := range selectors {
					if m.Name == "__name__" && !slices.Contains(exported, m.Value) {
						t.Errorf("%s asks for %s, which nothing exports", alert.Alert, m.Value)
					}
				}
			}
			if alert.For == nil || alert.Labels["severity"] == "" || alert.Annotations["summary"] == "" || alert.Annotations["description"] == "" {
				t.Errorf("%s lacks for, severity, summary or description", alert.Alert)
			}
			if !strings.Contains(string(manual), alert.Alert) {
				t.Errorf("docs/operations.md does not say what to do about %s", alert.Alert)
			}
		}
	}
	if count == 0 {
		t.Error("no alert at all")
	}
}

var metricName = regexp.MustCompile(`"(fairlead_[a-z_]+)"`)

// metrics lists the names that the operator's sources give to metrics.
func metrics(t *testing.T) (names []string) {
	t.Helper()
	err := filepath.WalkDir(root("controllers"), func(file string, _ fs.DirEntry, err error) error {
		if err != nil || filepath.Ext(file) != ".go" || strings.HasSuffix(file, "_test.go") {
			return err
		}
		text, err := os.ReadFile(file)
		for _, m := range metricName.FindAllStringSubmatch(string(text), -1) {
			names = append(names, m[1])
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}
