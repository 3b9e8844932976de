// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package metrics

import (
	"errors"
	"io/fs"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/fairlead/fairlead/rpcruntime/retry"
)

// The document for operators has every metric with its labels, no other, and
// every reason that there is.
func TestDocumentHasEveryMetric(t *testing.T) {
	text, err := os.ReadFile("../../docs/operations.md")
	if errors.Is(err, fs.ErrNotExist) {
		t.Skip("this module without its repository has no documents")
	}
	if err != nil {
		t.Fatal(err)
	}
	_, section, found := strings.Cut(string(text), "\n## Metrics\n")
	if !found {
		t.Fatal("there is no section on metrics")
	}
	section, _, _ = strings.Cut(section, "\n## ")
	documented := map[string]string{}
	for _, row := range regexp.MustCompile("(?m)^\\| `(fairlead_[a-z_]+)` \\| ([a-z, ]*)\\|").FindAllStringSubmatch(section, -1) {
		documented[row[1]] = strings.Join(strings.FieldsFunc(row[2], func(r rune) bool { return r == ',' || r == ' ' }), ",")
	}
	m := New()
	if made := described(t, m); !maps.Equal(documented, made) {
		for _, name := range slices.Sorted(maps.Keys(made)) {
			t.Logf("made:       %s{%s}", name, made[name])
		}
		for _, name := range slices.Sorted(maps.Keys(documented)) {
			t.Logf("documented: %s{%s}", name, documented[name])
		}
		t.Error("docs/operations.md does not have the metrics as they are")
	}
	var words []string
	for reason := range m.refused {
		words = append(words, reason)
	}
	for r := range retry.Reason(255) {
		if name := r.String(); name != "invalid" {
			words = append(words, name)
		}
	}
	for _, word := range words {
		if !strings.Contains(section, "`"+word+"`") {
			t.Errorf("docs/operations.md does not have the reason `%s`", word)
		}
	}
}

// described returns the labels of each metric, by its name.
func described(t *testing.T, m *Metrics) map[string]string {
	t.Helper()
	ch := make(chan *prometheus.Desc)
	go func() {
		defer close(ch)
		m.Describe(ch)
	}()
	form := regexp.MustCompile(`fqName: "([^"]+)".*variableLabels: \{([^}]*)\}`)
	made := map[string]string{}
	for d := range ch {
		parts := form.FindStringSubmatch(d.String())
		if parts == nil {
			t.Fatalf("%s has another form than %s", d, form)
		}
		made[parts[1]] = parts[2]
	}
	return made
}
