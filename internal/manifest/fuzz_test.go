// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package manifest

import (
	"bytes"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// texts are documents to begin with: every sample and every test case.
func texts(tb testing.TB) (all [][]byte) {
	tb.Helper()
	for _, pattern := range []string{"../../config/samples/*.yaml", "../../test/lint/testdata/*/*.yaml"} {
		files, err := filepath.Glob(pattern)
		if err != nil || len(files) == 0 {
			tb.Fatalf("%s: %v, %v", pattern, files, err)
		}
		for _, file := range files {
			data, err := os.ReadFile(file)
			if err != nil {
				tb.Fatal(err)
			}
			for _, chunk := range cut(data) {
				all = append(all, chunk.text)
			}
		}
	}
	return append(all,
		[]byte("a: &a [*a]\n---\n{<<: [*b]}\n...\nx\r\u2028y: \xff"),
		[]byte("apiVersion: v1\nkind: List\nitems:\n- &x {a: *x}\n- <<: {kind: RPCService}\n"),
	)
}

// checkParse holds what must be true of any text: no panic, findings without number, nor one that points out of the
// file.
func checkParse(t *testing.T, data []byte) {
	t.Helper()
	p, err := parseFile("m.yaml", data)
	if err != nil {
		t.Fatal(err)
	}
	if len(p.findings) > maxFindings+1 {
		t.Errorf("%d findings in %q", len(p.findings), data)
	}
	last := bytes.Count(data, []byte("\n")) + 1
	for _, f := range p.findings {
		if f.Line < 1 || f.Line > last || f.Message == "" {
			t.Errorf("%d lines, finding %+v in %q", last, f, data)
		}
	}
}

func FuzzParseFile(f *testing.F) {
	for _, text := range texts(f) {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) <= 1<<16 {
			checkParse(t, data)
		}
	})
}

// TestDamagedManifests does without a fuzzer, and every time, what is likeliest to find something: it damages documents
// that are nearly right.
func TestDamagedManifests(t *testing.T) {
	all := texts(t)
	random := rand.New(rand.NewPCG(1, 2))
	for range 3000 {
		text := slices.Clone(all[random.IntN(len(all))])
		for range 1 + random.IntN(6) {
			text = damage(text, random)
		}
		checkParse(t, text)
	}
}

func damage(text []byte, random *rand.Rand) []byte {
	const marks = "{}[]:,&*!|>'\"%@`#-\n\t\r ab01\x00\xff?<~."
	from := random.IntN(len(text) + 1)
	to := min(len(text), from+random.IntN(60))
	switch random.IntN(3) {
	case 0:
		return slices.Insert(text, from, marks[random.IntN(len(marks))])
	case 1:
		return slices.Delete(text, from, min(to, from+20))
	default:
		return slices.Insert(text, to, slices.Clone(text[from:to])...)
	}
}
