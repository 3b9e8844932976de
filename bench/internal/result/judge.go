// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package result

import "fmt"

// State is what became of a goal.
type State string

// States of a goal.
const (
	Reached     State = "reached"
	NotReached  State = "not reached"
	NotMeasured State = "not measured"
	// NotCounted: it leans on a weak yardstick, or calls of ours failed.
	NotCounted State = "not counted"
)

// Outcome is a goal with what the run says about it.
type Outcome struct {
	Name      string
	Goal, Aim float64 // equal: there is no aim beyond the goal
	AtMost    bool    // less is better
	Unit      string
	Got       float64 // 0 if not measured
	// Worst is that of a single round: the lowest, or with AtMost the highest. It
	// is 0 where there are no rounds.
	Worst   float64
	State   State
	AimedAt bool   // there is an aim, and it was reached, too
	Why     string `json:",omitempty"`
}

// Finish judges the goals. It can be called again when more is known.
func (r *Report) Finish() {
	weak := r.weakYardstick()
	r.Goals = make([]Outcome, 0, len(goals))
	for i := range goals {
		r.Goals = append(r.Goals, goals[i].judge(r, weak))
	}
}

func (g *goal) judge(r *Report, weak string) Outcome {
	out := Outcome{Name: g.name, Goal: g.goal, Aim: g.aim, AtMost: g.atMost, Unit: g.unit}
	found := g.got(r)
	if !found.ok {
		out.State = NotMeasured
		return out
	}
	out.Got, out.Worst = found.value, found.worst
	switch {
	case g.leans && weak != "":
		out.State, out.Why = NotCounted, weak
	case found.failed > 0:
		out.State, out.Why = NotCounted, fmt.Sprintf("%d calls of ours failed", found.failed)
	case g.meets(found.value, g.goal):
		out.State, out.AimedAt = Reached, g.aim != g.goal && g.meets(found.value, g.aim)
	default:
		out.State = NotReached
	}
	return out
}

func (g *goal) meets(value, mark float64) bool {
	if g.atMost {
		return value <= mark
	}
	return value >= mark
}
