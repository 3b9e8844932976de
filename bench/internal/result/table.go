// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package result

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// peerOrder is the order of output: ours, the peers, the yardsticks. Names that
// are not in it come last.
var peerOrder = []string{Fairlead, GRPC, NetRPC, DRPC, Connect, TTRPC, PingPong, Framed}

var laneOrder = []string{Proto, Raw, RawLarge, Open}

var handlerOrder = []string{Immediate, Yield, Sleep, Block}

// group is the cells that are compared with each other.
type group struct {
	lane, handler string
	callers       int
	cells         []*Cell // in peerOrder
}

// groups sorts the cells for output.
func (r *Report) groups() []group {
	cells := make([]*Cell, len(r.Cells))
	for i := range r.Cells {
		cells[i] = &r.Cells[i]
	}
	slices.SortStableFunc(cells, func(a, b *Cell) int {
		return cmp.Or(
			cmp.Compare(place(laneOrder, a.Lane), place(laneOrder, b.Lane)), cmp.Compare(a.Lane, b.Lane),
			cmp.Compare(place(handlerOrder, a.Handler), place(handlerOrder, b.Handler)), cmp.Compare(a.Handler, b.Handler),
			cmp.Compare(a.Callers, b.Callers),
			cmp.Compare(place(peerOrder, a.Peer), place(peerOrder, b.Peer)), cmp.Compare(a.Peer, b.Peer),
		)
	})
	var out []group
	for _, c := range cells {
		n := len(out)
		if n == 0 || out[n-1].lane != c.Lane || out[n-1].handler != c.Handler || out[n-1].callers != c.Callers {
			out = append(out, group{lane: c.Lane, handler: c.Handler, callers: c.Callers})
			n++
		}
		out[n-1].cells = append(out[n-1].cells, c)
	}
	return out
}

func place(order []string, name string) int {
	if i := slices.Index(order, name); i >= 0 {
		return i
	}
	return len(order)
}

func (g *group) title() string {
	if g.lane == Open {
		return "open loop, protobuf"
	}
	lane := map[string]string{Proto: "protobuf 581 B", Raw: "raw 581 B", RawLarge: "raw 64 KiB"}[g.lane]
	handler := map[string]string{Immediate: "", Yield: ", handler yields", Sleep: ", handler sleeps 1 ms", Block: ", some handlers block 1 s"}
	more, known := handler[g.handler]
	if !known {
		more = ", handler " + g.handler
	}
	return fmt.Sprintf("%s, %s%s", cmp.Or(lane, g.lane), callers(g.callers), more)
}

func callers(n int) string {
	if n == 1 {
		return "1 caller"
	}
	return strconv.Itoa(n) + " callers"
}

// ours is Fairlead's cell, or nil.
func (g *group) ours() *Cell {
	for _, c := range g.cells {
		if c.Peer == Fairlead {
			return c
		}
	}
	return nil
}

// columns are the heads of the table of cells.
var columns = []string{"peer", "calls/s", "ours/theirs", "lowest", "CPU us/call", "allocs/call", "p50", "p99", "p99.9", "failed"}

// row is a cell as text, in the order of columns.
func (g *group) row(c *Cell) []string {
	ratio, lowest := "", ""
	if c.Peer != Fairlead {
		if r, ok := Compare(g.ours(), c, CallsPerSec); ok && g.lane != Open {
			ratio, lowest = factor(r.OfMedians), factor(r.Lowest)
		}
	}
	return []string{
		c.Peer, whole(c.MedianOf(CallsPerSec)), ratio, lowest,
		decimals(c.MedianOf(CPU)/1e3, 1), decimals(c.MedianOf(Allocs), 1),
		duration(c.MedianOf(P50)), duration(c.MedianOf(P99)), duration(c.MedianOf(P999)),
		strconv.FormatInt(c.Failed(), 10),
	}
}

const none = "-" // not measured

func whole(v float64) string { return decimals(v, 0) }

func decimals(v float64, n int) string {
	if v <= 0 {
		return none
	}
	return strconv.FormatFloat(v, 'f', n, 64)
}

func factor(v float64) string {
	if v <= 0 {
		return none
	}
	return strconv.FormatFloat(v, 'f', 2, 64) + "x"
}

// duration is nanoseconds with three digits that count.
func duration(ns float64) string {
	if ns <= 0 {
		return none
	}
	d := time.Duration(ns)
	switch {
	case d >= 10*time.Millisecond:
		return d.Round(100 * time.Microsecond).String()
	case d >= time.Millisecond:
		return d.Round(10 * time.Microsecond).String()
	case d >= 100*time.Microsecond:
		return d.Round(time.Microsecond).String()
	}
	return d.Round(100 * time.Nanosecond).String()
}

// WriteTable writes what was measured, and the goals, for a terminal.
func (r *Report) WriteTable(w io.Writer) error {
	var b strings.Builder
	for _, line := range r.facts() {
		b.WriteString(line + "\n")
	}
	if v := r.versions(); v != "" {
		b.WriteString(v + "\n")
	}
	for _, g := range r.groups() {
		rows := [][]string{columns}
		for _, c := range g.cells {
			rows = append(rows, g.row(c))
		}
		section(&b, g.title(), rows)
	}
	var values [][]string
	for _, v := range r.Values {
		values = append(values, []string{v.Name, amount(v.Value), v.Unit})
	}
	section(&b, "other figures", values)
	rows := [][]string{goalColumns}
	for i := range r.Goals {
		rows = append(rows, r.Goals[i].row())
	}
	section(&b, "goals", rows)
	for _, line := range r.reasons() {
		b.WriteString(line + "\n")
	}
	if _, err := io.WriteString(w, b.String()); err != nil {
		return fmt.Errorf("table: %w", err)
	}
	return nil
}

// section writes a title and rows of equal length, the first column to the left
// and the others, which are figures, to the right.
func section(b *strings.Builder, title string, rows [][]string) {
	if len(rows) == 0 {
		return
	}
	widths := make([]int, len(rows[0]))
	for _, row := range rows {
		for i, text := range row {
			widths[i] = max(widths[i], utf8.RuneCountInString(text))
		}
	}
	b.WriteString("\n" + title + "\n")
	for _, row := range rows {
		fmt.Fprintf(b, "  %-*s", widths[0], row[0])
		for i, text := range row[1:] {
			fmt.Fprintf(b, "  %*s", widths[i+1], text)
		}
		b.WriteByte('\n')
	}
}

// WriteLines writes a line for each comparison of calls per second, to be read
// by programs.
func (r *Report) WriteLines(w io.Writer) error {
	for _, g := range r.groups() {
		for _, c := range g.cells {
			ratio, ok := Compare(g.ours(), c, CallsPerSec)
			if !ok || c.Peer == Fairlead || g.lane == Open {
				continue
			}
			handler := ""
			if g.handler != Immediate {
				handler = " handler=" + g.handler
			}
			if _, err := fmt.Fprintf(w, "bench: lane=%s%s c=%d ours=%.0f peer=%s theirs=%.0f ratio=%.2f\n", g.lane, handler, g.callers,
				g.ours().MedianOf(CallsPerSec), c.Peer, c.MedianOf(CallsPerSec), ratio.OfMedians); err != nil {
				return fmt.Errorf("lines: %w", err)
			}
		}
	}
	return nil
}
