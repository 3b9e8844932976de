// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build envtest

package envtest

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// TestManifests has the API server take what people copy: every manifest of the
// documents, and the samples.
func TestManifests(t *testing.T) {
	a := newApplier(t)
	total := 0
	for _, pattern := range []string{"README.md", "docs/*.md", "config/samples/*.yaml"} {
		files, err := filepath.Glob(root(filepath.FromSlash(pattern)))
		if err != nil || len(files) == 0 {
			t.Fatalf("%s: %d files: %v", pattern, len(files), err)
		}
		for _, file := range files {
			content, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			name, err := filepath.Rel(root(), file)
			if err != nil {
				t.Fatal(err)
			}
			found, wrong := []block{{line: 1, info: "yaml", text: string(content)}}, []string(nil)
			if filepath.Ext(file) == ".md" {
				found, wrong = blocks(string(content))
			}
			count, refused := a.all(t.Context(), found)
			total += count
			for _, text := range append(wrong, refused...) {
				t.Errorf("%s:%s", name, text)
			}
		}
	}
	if total < 10 {
		t.Errorf("only %d manifests were found: is anything still looked at?", total)
	}
}

// TestManifestsAreChecked: what is wrong is found, with its line.
func TestManifestsAreChecked(t *testing.T) {
	const good = "apiVersion: rpc.fairlead.dev/v1alpha1\nkind: RPCService\nmetadata: {name: checked, namespace: checked}\n" +
		"spec:\n  source: {type: Service, service: {name: arith}}\n"
	for name, test := range map[string]struct{ text, want string }{
		"good":                  {"# Title\n\n```yaml\n" + good + "```\n", ""},
		"marked fragment":       {"```yaml fragment\nvolumes: []\n```\n", ""},
		"values are elsewhere":  {"```yaml values\nmanager: {replicas: 3}\n```\n", ""},
		"no yaml":               {"```go\nx := 1\n```\n```sh\nls\n```\n", ""},
		"unknown field":         {"text\n```yaml\n" + strings.Replace(good, "source:", "sauce:", 1) + "```\n", "3: RPCService checked/checked: "},
		"refused by a rule":     {"```yaml\n" + strings.Replace(good, "type: Service", "type: Registered", 1) + "```\n", "2: RPCService checked/checked: "},
		"second document":       {"```yaml\n" + good + "---\n" + strings.Replace(good, "name: checked,", "name: Not_A_Name,", 1) + "```\n", "8: RPCService checked/Not_A_Name: "},
		"unknown kind":          {"```yaml\napiVersion: rpc.fairlead.dev/v1alpha1\nkind: RPCNothing\nmetadata: {name: a}\n```\n", "2: RPCNothing default/a: "},
		"unmarked fragment":     {"\n\n```yaml\nvolumes: []\n```\n", "4: neither apiVersion nor kind"},
		"marked manifest":       {"```yaml fragment\n" + good + "```\n", "2: a manifest that is marked"},
		"unknown mark":          {"```yaml sometimes\n" + good + "```\n", "2: no mark of ours"},
		"manifest without mark": {"```\n" + good + "```\n", "2: a manifest in a block"},
		"indented manifest":     {"text:\n\n    apiVersion: v1\n    kind: Namespace\n", "3: a manifest outside"},
		"no YAML":               {"```yaml\na: [\n```\n", "2: "},
		"never closed":          {"```yaml\n" + good, "1: never closed"},
		"in a shell":            {"```sh\nmkdir m\ncat > m/a.yaml <<'END'\n" + strings.Replace(good, "spec:", "spek:", 1) + "END\nls\n```\n", "4: RPCService checked/checked: "},
		"in an indented shell":  {"    $ cat > m/a.yaml <<EOF\n    " + strings.ReplaceAll(strings.Replace(good, "spec:", "spek:", 1), "\n", "\n    ") + "EOF\n    $ ls\n", "2: RPCService checked/checked: "},
	} {
		t.Run(name, func(t *testing.T) {
			found, wrong := blocks(test.text)
			_, refused := newApplier(t).all(t.Context(), found)
			switch all := slices.Concat(wrong, refused); {
			case test.want == "" && len(all) > 0:
				t.Errorf("found wrong: %q", all)
			case test.want != "" && (len(all) != 1 || !strings.HasPrefix(all[0], test.want)):
				t.Errorf("found %q, want one that begins with %q", all, test.want)
			}
		})
	}
}

// applier applies manifests, and takes them away when its test ends.
type applier struct {
	c       client.Client
	created map[string]bool // namespaces that are there for sure
}

const manifestsOwner = "manifests-test"

func newApplier(t *testing.T) *applier {
	t.Helper()
	c, err := client.New(common.env.Config, client.Options{FieldValidation: metav1.FieldValidationStrict})
	if err != nil {
		t.Fatal(err)
	}
	a := &applier{c: c, created: map[string]bool{"default": true}}
	t.Cleanup(func() {
		for _, kind := range []string{"RPCService", "RPCCallPolicy", "RPCLimitPolicy"} {
			for namespace := range a.created {
				o := &unstructured.Unstructured{}
				o.SetAPIVersion("rpc.fairlead.dev/v1alpha1")
				o.SetKind(kind)
				if err := c.DeleteAllOf(context.Background(), o, client.InNamespace(namespace)); err != nil {
					t.Error(err)
				}
			}
		}
	})
	return a
}

// all applies the manifests of one file in their order, and says what the API
// server does not take, or is not in the place where it is looked for.
func (a *applier) all(ctx context.Context, found []block) (count int, wrong []string) {
	for _, b := range found {
		documents, err := b.documents()
		if err != nil {
			wrong = append(wrong, fmt.Sprintf("%d: %v", b.line, err))
			continue
		}
		for _, d := range documents {
			switch {
			case b.info != "yaml" && !d.manifest(): // a fragment, or values, which hack/chart tries
			case b.info != "yaml":
				wrong = append(wrong, fmt.Sprintf("%d: a manifest that is marked as %q: it would not be tried", d.line, b.info))
			case !d.manifest():
				wrong = append(wrong, fmt.Sprintf("%d: neither apiVersion nor kind: begin the block with ```yaml fragment, or ```yaml values if Helm reads it", d.line))
			default:
				count++
				if err := a.apply(ctx, d.object); err != nil {
					wrong = append(wrong, fmt.Sprintf("%d: %s %s/%s: %v", d.line, d.object.GetKind(), d.object.GetNamespace(), d.object.GetName(), err))
				}
			}
		}
	}
	return count, wrong
}

// apply applies a manifest by server-side apply, in the namespace that it names
// or, as kubectl does, in default.
func (a *applier) apply(ctx context.Context, o *unstructured.Unstructured) error {
	mapping, err := a.c.RESTMapper().RESTMapping(o.GroupVersionKind().GroupKind(), o.GroupVersionKind().Version)
	if o.GetNamespace() == "" && (err != nil || mapping.Scope.Name() == "namespace") {
		o.SetNamespace("default")
	}
	if err != nil {
		return err
	}
	if ns := o.GetNamespace(); ns != "" && !a.created[ns] {
		need := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "v1", "kind": "Namespace", "metadata": map[string]any{"name": ns}}}
		if err := a.c.Create(ctx, need); err != nil && !apierrors.IsAlreadyExists(err) {
			return err
		}
		a.created[ns] = true
	}
	return a.c.Apply(ctx, client.ApplyConfigurationFromUnstructured(o.DeepCopy()), client.FieldOwner(manifestsOwner), client.ForceOwnership)
}

// block is YAML that stands in a document: in a fence, or in what a shell is
// told to write into a file.
type block struct {
	line int    // of its first line, from 1
	info string // "yaml", or with the mark that no reader sees: "yaml fragment", "yaml values"
	text string
}

var (
	fence   = regexp.MustCompile("^ {0,3}```+ *(.*?) *$")
	heredoc = regexp.MustCompile(`\.ya?ml['"]? *<< *'?([A-Z]+)'?$`)
	begins  = regexp.MustCompile(`(?m)^ *apiVersion:`)
)

// blocks finds the YAML of a document in Markdown, and what looks like a
// manifest and would not be tried. The latter begins with a line's number.
func blocks(text string) (found []block, wrong []string) {
	var open, inside *block // a fence, and a file that a shell is told to write
	var end, indent string  // of inside
	for i, line := range strings.Split(text, "\n") {
		m := fence.FindStringSubmatch(line)
		switch {
		case inside != nil && strings.TrimSpace(line) == end:
			found, inside = append(found, *inside), nil
		case inside != nil:
			inside.text += strings.TrimPrefix(line, indent) + "\n"
		case heredoc.MatchString(line):
			end = heredoc.FindStringSubmatch(line)[1]
			indent = line[:len(line)-len(strings.TrimLeft(line, " "))]
			inside = &block{line: i + 2, info: "yaml"}
		case open == nil && m != nil:
			open = &block{line: i + 2, info: m[1]}
		case open == nil && begins.MatchString(line):
			wrong = append(wrong, fmt.Sprintf("%d: a manifest outside of a fence", i+1))
		case open != nil && m == nil:
			open.text += line + "\n"
		case open != nil:
			switch word, _, _ := strings.Cut(open.info, " "); {
			case open.info == "yaml", open.info == "yaml fragment", open.info == "yaml values":
				found = append(found, *open)
			case word == "yaml", word == "yml":
				wrong = append(wrong, fmt.Sprintf("%d: no mark of ours: %q", open.line, open.info))
			case begins.MatchString(open.text):
				wrong = append(wrong, fmt.Sprintf("%d: a manifest in a block that is not marked as yaml", open.line))
			}
			open = nil
		}
	}
	for _, b := range []*block{open, inside} {
		if b != nil {
			wrong = append(wrong, fmt.Sprintf("%d: never closed", b.line-1))
		}
	}
	return found, wrong
}

// document is one of a block.
type document struct {
	line   int
	object *unstructured.Unstructured
}

func (d *document) manifest() bool {
	return d.object.GetAPIVersion() != "" && d.object.GetKind() != ""
}

// documents parses a block. Documents without content are left out.
func (b *block) documents() ([]*document, error) {
	var out []*document
	line := b.line
	for reader := yaml.NewYAMLReader(bufio.NewReader(strings.NewReader(b.text))); ; {
		text, err := reader.Read()
		switch {
		case errors.Is(err, io.EOF):
			return out, nil
		case err != nil:
			return nil, err
		}
		d := &document{line: line, object: &unstructured.Unstructured{}}
		line += bytes.Count(text, []byte{'\n'}) + 1
		if err := yaml.UnmarshalStrict(text, &d.object.Object); err != nil {
			return nil, err
		}
		if len(d.object.Object) > 0 {
			out = append(out, d)
		}
	}
}
