// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package result

import (
	"bytes"
	_ "embed"
	"fmt"
	"math"
	"strconv"
	"text/template"
)

//go:embed chart.svg.tmpl
var chartSource string

// text/template's html escapes what XML needs, too.
var chartTemplate = template.Must(template.New("chart").Parse(chartSource))

// Lengths of the chart, in its own units.
const (
	panelWidth  = 520
	panelGap    = 40
	margin      = 28
	headHeight  = 74
	footHeight  = 34
	titleHeight = 34
	barHeight   = 20
	barStep     = 27
	labelWidth  = 84 // left of the bars
	valueWidth  = 64 // right of the longest
)

// chart is what the template draws.
type chart struct {
	Width, Height int
	Facts         string
	Panels        []panel
	FootY         int
}

type panel struct {
	X, Y   int
	Title  string
	Bars   []bar
	AxisX  int
	Bottom int
}

type bar struct {
	Y, TextY    int // of the panel's top
	Height      int
	Peer, Class string
	X, Length   int
	ValueX      int
	Value       string
	Low, High   int // of single rounds
	Middle      int
	Tip         string
	ShowRounds  bool
	LabelX      int
}

// WriteChart writes ChartFile into the folder, which it makes if need be: calls
// per second of each peer at 100 and 1000 callers, a panel for each lane.
func (r *Report) WriteChart(dir string) error {
	var text bytes.Buffer
	if err := chartTemplate.Execute(&text, r.chart()); err != nil {
		return fmt.Errorf("chart: %w", err)
	}
	return write(dir, ChartFile, text.Bytes())
}

func (r *Report) chart() chart {
	c := chart{Width: 2*margin + 2*panelWidth + panelGap, Facts: r.chartFacts()}
	y := headHeight
	row := 0 // the height of the row of panels under way
	for _, g := range r.charted() {
		x := margin
		if g.callers == 1000 {
			x += panelWidth + panelGap
		} else {
			y, row = y+row, 0
		}
		p := newPanel(g, x, y)
		c.Panels = append(c.Panels, p)
		row = max(row, p.Bottom+panelGap/2)
	}
	c.FootY = y + row + footHeight/2
	c.Height = y + row + footHeight
	return c
}

// charted are the groups that have a panel: both panels of a lane, or none.
func (r *Report) charted() (out []group) {
	found := map[string]map[int]group{}
	for _, g := range r.groups() {
		if g.handler == Immediate && (g.callers == 100 || g.callers == 1000) {
			if found[g.lane] == nil {
				found[g.lane] = map[int]group{}
			}
			found[g.lane][g.callers] = g
		}
	}
	for _, lane := range laneOrder {
		if found[lane] == nil {
			continue
		}
		for _, n := range []int{100, 1000} {
			g := found[lane][n]
			g.lane, g.handler, g.callers = lane, Immediate, n // also of one without cells
			out = append(out, g)
		}
	}
	return out
}

func (r *Report) chartFacts() string {
	h := r.Host
	text := fmt.Sprintf("%s, %d CPUs, %s; %s", h.CPU, h.CPUs, h.Go, r.Started.UTC().Format("2006-01-02"))
	if r.Quick {
		text += "; a quick run, which proves nothing"
	}
	return text
}

func newPanel(g group, x, y int) panel {
	p := panel{X: x, Y: y, Title: g.title(), AxisX: labelWidth}
	most := 0.0
	for _, c := range g.cells {
		most = max(most, c.MedianOf(CallsPerSec))
	}
	at := titleHeight
	for _, c := range g.cells {
		if value := c.MedianOf(CallsPerSec); value > 0 {
			p.Bars = append(p.Bars, newBar(c, value, most, at))
			at += barStep
		}
	}
	p.Bottom = at
	return p
}

func newBar(c *Cell, value, most float64, y int) bar {
	scale := (panelWidth - labelWidth - valueWidth) / most
	low, high := value, value
	for _, v := range measured(series(c, CallsPerSec)) {
		low, high = min(low, v), max(high, v)
	}
	length := func(v float64) int { return int(math.Round(min(v, most*1.05) * scale)) }
	b := bar{
		Y: y, Height: barHeight, TextY: y + barHeight - 6, Middle: y + barHeight/2,
		Peer: c.Peer, Class: class(c.Peer), LabelX: labelWidth - 8,
		X: labelWidth, Length: max(1, length(value)), Value: thousands(value),
		Low: labelWidth + length(low), High: labelWidth + length(high), ShowRounds: len(c.Rounds) > 1,
		Tip: fmt.Sprintf("%s: %.0f calls/s, rounds from %.0f to %.0f", c.Peer, value, low, high),
	}
	b.ValueX = max(b.X+b.Length, b.High) + 6
	return b
}

func class(peer string) string {
	switch peer {
	case Fairlead:
		return "ours"
	case PingPong, Framed:
		return "yardstick"
	}
	return "peer"
}

func thousands(v float64) string {
	if v < 10_000 {
		return strconv.FormatFloat(v/1000, 'f', 1, 64) + "k"
	}
	return strconv.FormatFloat(v/1000, 'f', 0, 64) + "k"
}
