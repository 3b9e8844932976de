// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package manifest

import (
	"strings"
	"testing"
)

// TestSyntaxLine marks the wrong line with <-- in each text.
func TestSyntaxLine(t *testing.T) {
	for name, text := range map[string]string{
		"one column in":             "a:\n  b: 1\n   c: 2<--\nd: 3\n",
		"one column out":            "a:\n  b: 1\n c: 2<--\nd: 3\n",
		"a tab":                     "a:\n\tb: 1<--\n",
		"no colon":                  "a: 1\nb<--\nc: 2\n",
		"a bracket that stays open": "a: 1\nb: [1, 2<--\nc: 3\n",
		"a quote that stays open":   "a: 1\nb: \"x<--\nc: 3\n",
		"a brace too much":          "a: 1\nb: {c: 1}}<--\n",
		"an alias to nothing":       "a: 1\nb: *x<--\nc: 1\n",
		"an at sign":                "a: 1\n\n# a comment\n\nb: @x<--\n",
		"a list in a mapping":       "a:\n  b: 1\n  - c<--\n",
		"a mapping in a list":       "a:\n- b\nc: 1\n- d<--\n",
		"the first line":            "a: b: c<--\nd: 1\n",
		"the last line":             "a: 1\nb: %<--",
		"an escape that is none":    "a: 1\nb: \"\\q\"<--\nc: 1\n",
		"a control character":       "a: 1\nb: \x01<--\nc: 1\n",
		"a quote, long ago":         "a: 1\nb: \"x<--\n" + strings.Repeat("c:\n  d: 1\n", 500),
		"a brace, long ago":         strings.Repeat("- 1\n", 300) + "- {a: 1<--\n" + strings.Repeat("- 1\n", 500),
		"an int, long ago":          "a:\n" + strings.Repeat("- 1\n", 300) + "- !!int x<--\n" + strings.Repeat("- 1\n", 500),
		"a second document":         "a: 1\n...\nb: 1<--\n",
		"not text":                  "a: 1\nb: \xff\xfe<--\nc: 1\n",
		"an int that is none":       "a: 1\nb: !!int x<--\nc: 1\n",
		"behind Windows' line ends": "a: 1\r\nb: 2\r\n\tc: 3<--\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			before, after, _ := strings.Cut(text, "<--")
			want := strings.Count(before, "\n") + 1
			for _, lead := range []string{"", "x: 1\n---\n# a comment\n"} {
				_, findings := read("m.yaml", []byte(lead+before+after))
				if len(lead) > 0 {
					findings = findings[max(0, len(findings)-1):]
				}
				if want := want + strings.Count(lead, "\n"); len(findings) != 1 || findings[0].Line != want {
					t.Errorf("after %q: %v, want one finding on line %d", lead, findings, want)
				}
			}
		})
	}
}

// TestLines holds the lines of fields that are not plain: the wrong value is marked.
func TestLines(t *testing.T) {
	const head = "apiVersion: rpc.fairlead.dev/v1alpha1\nkind: RPCService\nmetadata: {name: a}\n"
	for name, text := range map[string]string{
		"in flow":               "spec: {source: {type: Registered},\n  methods: [{name: A.B},\n   {name: A.C, idempotency: no<--}]}\n",
		"below an empty line":   "spec:\n\n\n  source:\n\n    type: Other<--\n",
		"in an alias":           "metadata: {name: a}\nspec:\n  source: {type: Registered}\n  methods:\n  - {name: A.B, idempotency: &i x<--}\n",
		"in a merge":            "spec:\n  source: {type: Registered}\n  methods:\n  - <<: {idempotency: x<--}\n    name: A.B\n",
		"in a list of merges":   "spec:\n  source: {type: Registered}\n  methods:\n  - name: A.B\n    <<:\n    - {}\n    - idempotency: x<--\n",
		"a key in quotes":       "spec:\n  source: {type: Registered}\n  \"undeclaredMethods\": x<--\n",
		"a value below its key": "spec:\n  source: {type: Registered}\n  undeclaredMethods:<--\n    x\n",
		"behind a long text":    "spec:\n  source: {type: Registered}\n  undeclaredMethods: |<--\n    x\n    y\n",
		"missing, in an entry":  "spec:\n  source: {type: Registered}\n  methods:\n  - name: A.B\n  - idempotency: Idempotent<--\n",
		"missing, at the top":   "<--",
		"missing, below":        "spec:<--\n  methods: []\n",
		"unknown, with dots":    "spec:\n  source: {type: Registered}\n  a.b: 1<--\n",
		"old line ends":         "spec:\n  source: {type: Registered} #\r # a comment\r\n  undeclaredMethods: x<--\n",
		"Unicode's line ends":   "spec:\n  source: {type: Registered} # \u2028 # \u0085 # \u2029\n  undeclaredMethods: x<--\n",
	} {
		t.Run(name, func(t *testing.T) {
			whole := head + text
			if strings.HasPrefix(text, "metadata:") {
				whole = strings.Replace(head, "metadata: {name: a}\n", "", 1) + text
			}
			before, after, _ := strings.Cut(whole, "<--")
			want := strings.Count(before, "\n") + 1
			if name == "missing, at the top" {
				want = 1
			}
			p, err := parseFile("m.yaml", []byte(before+after))
			if err != nil || len(p.findings) != 1 || p.findings[0].Line != want {
				t.Errorf("%v (%v), want one finding on line %d", p.findings, err, want)
			}
		})
	}
}

// TestCut says where a file is cut into documents.
func TestCut(t *testing.T) {
	const text = "# first\na: 1\n--- # second\nb: |\n  ---\n  --- x\n---\tc\n----\nd: 1\n---"
	var got []string
	lines := 0
	for _, c := range cut([]byte(text)) {
		if c.line != lines+1 {
			t.Errorf("%q begins on line %d, want %d", c.text, c.line, lines+1)
		}
		lines += strings.Count(string(c.text), "\n")
		got = append(got, string(c.text))
	}
	if strings.Join(got, "") != text || len(got) != 4 {
		t.Errorf("cut into %d: %q", len(got), got)
	}
}

// TestFind has paths that could be read in two ways.
func TestFind(t *testing.T) {
	root, wrong := parse([]byte("a:\n  b: 1\n  c: [x, {d: 2}]\na.b: 3\ne[0]: 4\n\"f g\": {h/i: 5}\n"))
	if wrong != nil {
		t.Fatal(wrong.message)
	}
	for path, want := range map[string]string{
		"a":        "a",
		"a.c[1].d": "d",
		"a.b":      "a.b", // the longest key counts
		"a.c[0]":   "x",
		"a.c[7]":   "c",
		"a.c[x].d": "c",
		"a.bb":     "a",
		"e[0]":     "e[0]",
		"f g[h/i]": "h/i",
		"f g.none": "f g",
	} {
		if at, _ := find(root, path); at.Value != want {
			t.Errorf("%s leads to %q, want %q", path, at.Value, want)
		}
	}
}
