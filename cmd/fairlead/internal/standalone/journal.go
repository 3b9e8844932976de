// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package standalone

import (
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/go-logr/logr"
)

// journal writes lines for people, one at a time. Safe for concurrent use.
type journal struct {
	mu      sync.Mutex // guards w
	w       io.Writer
	now     func() time.Time
	verbose bool
}

// line writes one line with the time of day.
func (j *journal) line(format string, args ...any) {
	j.mu.Lock()
	defer j.mu.Unlock()
	_, _ = fmt.Fprintf(j.w, "%s %s\n", j.now().Format(time.TimeOnly), fmt.Sprintf(format, args...)) // nobody else could be told
}

// problem is a line that calls for somebody.
func (j *journal) problem(format string, args ...any) { j.line("problem: "+format, args...) }

// logger is for the parts that log by themselves: errors always, decisions if
// verbose.
func (j *journal) logger(name string) logr.Logger { return logr.New(sink{journal: j, name: name}) }

// sink makes lines of what is logged.
type sink struct {
	journal *journal
	name    string
	values  []any
}

// Init has nothing to prepare.
func (sink) Init(logr.RuntimeInfo) {}

// Enabled lets details pass if verbose.
func (s sink) Enabled(level int) bool { return level == 0 || s.journal.verbose }

// Info writes a line.
func (s sink) Info(_ int, message string, values ...any) {
	s.journal.line("%s: %s%s", s.name, message, pairs(s.values, values))
}

// Error writes a line that calls for somebody.
func (s sink) Error(err error, message string, values ...any) {
	s.journal.problem("%s: %s: %v%s", s.name, message, err, pairs(s.values, values))
}

// WithValues adds to what is written on each line.
func (s sink) WithValues(values ...any) logr.LogSink {
	s.values = slices.Concat(s.values, values)
	return s
}

// WithName names a part of a part.
func (s sink) WithName(name string) logr.LogSink {
	s.name += "." + name
	return s
}

// pairs writes keys and values, each with a space in front.
func pairs(lists ...[]any) string {
	var b strings.Builder
	all := slices.Concat(lists...)
	for i := 0; i+1 < len(all); i += 2 {
		value := fmt.Sprint(all[i+1])
		if value == "" || strings.ContainsAny(value, " \"\n") {
			value = strconv.Quote(value)
		}
		_, _ = fmt.Fprintf(&b, " %v=%s", all[i], value) // a Builder takes everything
	}
	return b.String()
}
