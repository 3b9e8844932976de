// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package explain

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/fairlead/fairlead/api/v1alpha1"
	"github.com/fairlead/fairlead/rpcruntime/policy"
)

// printer writes text, and keeps the first error.
type printer struct {
	to  io.Writer
	err error
}

func (p *printer) linef(format string, args ...any) {
	if p.err == nil {
		_, p.err = fmt.Fprintf(p.to, format+"\n", args...)
	}
}

// table writes rows in columns, and nothing when there is no row but the head.
func (p *printer) table(gap int, head string, rows ...string) {
	if len(rows) > 0 {
		p.columns(gap, append([]string{head}, rows...)...)
	}
}

// columns writes rows in columns, without blanks at the end of lines.
func (p *printer) columns(gap int, rows ...string) {
	var b bytes.Buffer
	w := tabwriter.NewWriter(&b, 0, 0, gap, ' ', 0)
	_, _ = io.WriteString(w, strings.Join(rows, "\n")) // a buffer takes everything
	_ = w.Flush()
	for line := range strings.Lines(b.String()) {
		p.linef("%s", strings.TrimRight(line, " \n"))
	}
}

func row(cells ...string) string { return strings.Join(cells, "\t") }

func (p *printer) notRead(missing []NotRead) {
	if len(missing) > 0 {
		p.linef("")
	}
	for i := range missing {
		p.linef("NOT KNOWN  %s", missing[i].String())
	}
}

// WriteText writes the answer for people.
func (c *Call) WriteText(to io.Writer) error {
	p := &printer{to: to}
	head := []string{
		row("caller", c.Caller.Namespace+"/"+c.Caller.Name, c.holding()),
		row("target", c.Service, c.Method+", "+c.idempotency()),
	}
	if c.Callers != nil {
		head = append(head, c.Callers.head())
	}
	if !c.offline {
		head = append(head, row("clients", c.counted(), c.countedBy()))
	}
	p.columns(3, head...)
	if c.Subscription == Refused {
		p.linef("")
		p.linef("callers in %s may not subscribe to %s: see its spec.consumers. Their calls end with PermissionDenied,", c.Caller.Namespace, c.Service)
		p.linef("and no policy is in force for them.")
	}
	if len(c.Fields) > 0 {
		p.linef("")
	}
	var fields, fallbacks, limits, vain []string
	for i := range c.Fields {
		fields = append(fields, c.Fields[i].row())
	}
	for _, f := range c.Fallbacks {
		fallbacks = append(fallbacks, row(f.Field, f.Value, f.SetBy.generation(), f.Reason))
	}
	for i := range c.Limits {
		limits = append(limits, row(c.Limits[i].Name, c.Limits[i].admits(), c.Limits[i].SetBy.generation()))
	}
	for _, n := range c.NoEffect {
		vain = append(vain, row(n.Policy.generation(), n.Condition+"=False", n.Reason, n.Message))
	}
	p.table(3, row("FIELD", "VALUE", "SET BY", "INSTEAD OF"), fields...)
	p.section(row("CANNOT BE USED", "VALUE", "SET BY", "WHY"), fallbacks)
	p.section(row("LIMIT", "EACH INSTANCE ADMITS", "SET BY"), limits)
	p.section(row("WITHOUT EFFECT", "CONDITION", "REASON", "MESSAGE"), vain)
	if c.Callers != nil {
		c.Callers.write(p)
	}
	p.notRead(c.NotRead)
	p.notAsked("which callers have this policy, and which do not", c.NotAsked)
	return p.err
}

// section is a table after an empty line.
func (p *printer) section(head string, rows []string) {
	if len(rows) > 0 {
		p.linef("")
		p.table(3, head, rows...)
	}
}

func (c *Call) holding() string {
	switch {
	case c.Subscription == Refused:
		return "may not subscribe"
	case c.Digest == "":
		return "what it is served has a digest that is not known"
	default:
		return "is served " + c.Digest
	}
}

func (c *Call) idempotency() string {
	for _, m := range c.Declared {
		if m != c.Method {
			continue
		}
		if c.Idempotency == v1alpha1.Idempotent {
			return "idempotent"
		}
		return "not idempotent"
	}
	text := "not declared, so not idempotent; the RPCService declares " + c.declares()
	if similar := near(c.Method, c.Declared); len(similar) > 0 {
		text += "; did you mean " + strings.Join(similar, " or ") + "?"
	}
	return text
}

func (c *Call) counted() string {
	if c.Clients == nil {
		return "not known"
	}
	return fmt.Sprintf("%d of %d", c.Clients.Current, c.Clients.Total)
}

func (c *Call) countedBy() string {
	if c.Clients == nil {
		return "the status of RPCService " + c.Service + " has no count of them"
	}
	text := "hold what is served now: callers and instances, by the status of RPCService " + c.Service
	if c.ObservedGeneration < c.Generation {
		text += fmt.Sprintf(", which is of generation %d and not %d", c.ObservedGeneration, c.Generation)
	}
	return text
}

func (f *Field) row() string {
	var instead []string
	for _, was := range f.InsteadOf {
		instead = append(instead, fmt.Sprintf("%s (%s)", was.Value, was.SetBy.name()))
	}
	return row(f.Field, f.Value, f.SetBy.generation(), strings.Join(instead, ", "))
}

// name says which object it is.
func (o *Origin) name() string {
	switch {
	case o.Kind == "":
		return policy.StepDefault.String()
	case o.overrides:
		return fmt.Sprintf("overrides of %s %s/%s", o.Kind, o.Namespace, o.Name)
	default:
		return fmt.Sprintf("%s %s/%s", o.Kind, o.Namespace, o.Name)
	}
}

// generation says which object it is, and of which generation.
func (o *Origin) generation() string {
	if o.Kind == "" {
		return o.name()
	}
	return fmt.Sprintf("%s (gen %d)", o.name(), o.Generation)
}

// admits says what the limit lets in, in a sentence.
func (l *Limit) admits() string {
	var parts []string
	if l.Rate != nil {
		text := fmt.Sprintf("%d per %s", l.Rate.Count, l.Rate.Interval)
		if l.Rate.Burst != l.Rate.Count {
			text += fmt.Sprintf(" (%d at once)", l.Rate.Burst)
		}
		parts = append(parts, text)
	}
	if l.Concurrency > 0 {
		parts = append(parts, fmt.Sprintf("%d running", l.Concurrency))
	}
	text := strings.Join(parts, ", ")
	switch {
	case l.By == policy.ByCaller:
		text += fmt.Sprintf(", for each caller (%s)", strings.ToLower(string(l.CallerNames)))
	case len(l.Methods) == 0:
		text += ", all methods together"
	}
	if len(l.Methods) > 0 {
		text += ", of " + strings.Join(l.Methods, ", ")
	}
	return text
}
