// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package result

// Field is one figure of a Round.
type Field func(Round) float64

// CallsPerSec is a Field.
func CallsPerSec(r Round) float64 { return r.CallsPerSec }

// P50 is a Field, in nanoseconds.
func P50(r Round) float64 { return float64(r.P50) }

// P99 is a Field, in nanoseconds.
func P99(r Round) float64 { return float64(r.P99) }

// P999 is a Field, in nanoseconds.
func P999(r Round) float64 { return float64(r.P999) }

// CPU is a Field, in nanoseconds per call.
func CPU(r Round) float64 { return float64(r.CPUPerCall) }

// Allocs is a Field.
func Allocs(r Round) float64 { return r.AllocsPerCall }

// Ratio compares two series of rounds.
type Ratio struct {
	OfMedians float64 // what decides
	// Of single rounds; 0 if no round has both figures.
	Lowest, Highest float64
	Rounds          int // that have both figures
}

// Compare divides the figures of a by those of b. It says no if either was not
// measured.
func Compare(a, b *Cell, field Field) (Ratio, bool) {
	if a == nil || b == nil {
		return Ratio{}, false
	}
	return compare(series(a, field), series(b, field))
}

func series(c *Cell, field Field) []float64 {
	s := make([]float64, len(c.Rounds))
	for i, r := range c.Rounds {
		s[i] = field(r)
	}
	return s
}

// compare takes figures that are not above zero as not measured.
func compare(a, b []float64) (Ratio, bool) {
	x, y := Median(measured(a)), Median(measured(b))
	if x <= 0 || y <= 0 {
		return Ratio{}, false
	}
	out := Ratio{OfMedians: x / y}
	for i := range min(len(a), len(b)) {
		if a[i] <= 0 || b[i] <= 0 {
			continue
		}
		ratio := a[i] / b[i]
		if out.Rounds == 0 {
			out.Lowest, out.Highest = ratio, ratio
		}
		out.Lowest, out.Highest = min(out.Lowest, ratio), max(out.Highest, ratio)
		out.Rounds++
	}
	return out, true
}

func measured(values []float64) []float64 {
	var out []float64
	for _, v := range values {
		if v > 0 {
			out = append(out, v)
		}
	}
	return out
}

// MedianOf is the median of one field over the rounds in which it was measured;
// 0 if it never was.
func (c *Cell) MedianOf(field Field) float64 { return Median(measured(series(c, field))) }

// Failed is the number of calls that failed, over all rounds.
func (c *Cell) Failed() (n int64) {
	for _, r := range c.Rounds {
		n += r.Errors
	}
	return n
}
