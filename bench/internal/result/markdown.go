// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package result

import (
	"bytes"
	"fmt"
	"io"
	"strings"
)

// The comments between which Paste puts the tables.
const (
	PasteBegin = "<!-- results: begin -->"
	PasteEnd   = "<!-- results: end -->"
)

// WriteMarkdown writes facts, goals and cells as Markdown.
func (r *Report) WriteMarkdown(w io.Writer) error {
	var b strings.Builder
	for _, line := range r.facts() {
		fmt.Fprintf(&b, "- %s\n", escape(line))
	}
	if len(r.Versions) > 0 {
		b.WriteString("\n### peers\n\n")
		line(&b, []string{"peer", "version", "set up"})
		b.WriteString("|---|---|---|\n")
		for _, v := range r.Versions {
			line(&b, []string{v.Name, v.Version, v.Note})
		}
	}
	b.WriteString("\n### goals\n\n")
	head(&b, goalColumns)
	for i := range r.Goals {
		line(&b, r.Goals[i].row())
	}
	for _, why := range r.reasons() {
		fmt.Fprintf(&b, "\n%s.\n", escape(why))
	}
	for _, g := range r.groups() {
		fmt.Fprintf(&b, "\n### %s\n\n", escape(g.title()))
		head(&b, columns)
		for _, c := range g.cells {
			line(&b, g.row(c))
		}
	}
	if len(r.Values) > 0 {
		b.WriteString("\n### other figures\n\n")
		head(&b, []string{"figure", "value", "unit"})
		for _, v := range r.Values {
			line(&b, []string{v.Name, amount(v.Value), v.Unit})
		}
	}
	if _, err := io.WriteString(w, b.String()); err != nil {
		return fmt.Errorf("markdown: %w", err)
	}
	return nil
}

// head writes the head of a table; all columns but the first are numbers.
func head(b *strings.Builder, names []string) {
	line(b, names)
	b.WriteString("|---|")
	b.WriteString(strings.Repeat("---:|", len(names)-1))
	b.WriteByte('\n')
}

func line(b *strings.Builder, texts []string) {
	b.WriteByte('|')
	for _, t := range texts {
		b.WriteString(" " + escape(t) + " |")
	}
	b.WriteByte('\n')
}

// escape keeps text from being taken for Markdown's marks.
func escape(s string) string {
	return strings.NewReplacer(`\`, `\\`, "|", `\|`, "<", "&lt;", "*", `\*`, "_", `\_`, "`", "\\`", "\n", " ").Replace(s)
}

// Paste replaces what stands between PasteBegin and PasteEnd.
func Paste(document, tables []byte) ([]byte, error) {
	begin := bytes.Index(document, []byte(PasteBegin))
	end := bytes.Index(document, []byte(PasteEnd))
	if begin < 0 || end < begin {
		return nil, fmt.Errorf("no %s with a %s behind it", PasteBegin, PasteEnd)
	}
	var out bytes.Buffer
	out.Write(document[:begin])
	out.WriteString(PasteBegin + "\n\n")
	out.Write(bytes.TrimSpace(tables))
	out.WriteString("\n\n")
	out.Write(document[end:])
	return out.Bytes(), nil
}
