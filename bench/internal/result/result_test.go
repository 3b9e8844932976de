// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package result

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

// cell is a cell with one round for each rate.
func cell(lane, handler, peer string, callers int, rates ...float64) Cell {
	c := Cell{Lane: lane, Handler: handler, Peer: peer, Callers: callers}
	for _, rate := range rates {
		c.Rounds = append(c.Rounds, Round{CallsPerSec: rate, CPUPerCall: 8 * time.Microsecond, AllocsPerCall: 2.5,
			P50: time.Duration(1e9 / rate), P99: time.Duration(3e9 / rate), P999: time.Duration(5e9 / rate)})
	}
	return c
}

// sample is a run in which all goals but one are reached.
func sample() *Report {
	r := &Report{
		Started: time.Date(2026, 11, 23, 23, 0, 0, 0, time.UTC), Took: 20 * time.Minute, Seed: 7,
		Host:     Host{CPU: "A & B <CPU>", CPUs: 2, MemoryMiB: 8000, OS: "linux", Kernel: "6.1", Go: "go1.26.8", GOMAXPROCS: 2, StealShare: 0.012},
		Versions: []Version{{Name: "grpc-go", Version: "v1.81.0", Note: "no TLS"}},
	}
	for _, n := range []int{100, 1000} {
		r.Cells = append(r.Cells,
			cell(Proto, Immediate, Fairlead, n, 150e3, 170e3, 160e3),
			cell(Proto, Immediate, GRPC, n, 30e3, 34e3, 32e3),
			cell(Proto, Immediate, NetRPC, n, 70e3, 72e3, 71e3),
			cell(Proto, Immediate, DRPC, n, 29e3, 28e3, 30e3),
			cell(Proto, Immediate, Framed, n, 165e3, 175e3, 170e3),
			cell(Raw, Immediate, Fairlead, n, 300e3, 280e3, 290e3),
			cell(Raw, Immediate, GRPC, n, 31e3, 30e3, 32e3))
	}
	r.Cells = append(r.Cells,
		cell(Proto, Immediate, Fairlead, 5000, 140e3, 150e3, 145e3),
		cell(Proto, Immediate, Fairlead, 1, 12e3, 13e3, 12.5e3),
		cell(Proto, Immediate, PingPong, 1, 13e3, 13.5e3, 13.2e3),
		cell(Proto, Immediate, NetRPC, 1, 9e3, 9.1e3, 9.2e3),
		cell(Proto, Sleep, Fairlead, 1000, 140e3, 141e3, 142e3),
		cell(Proto, Sleep, NetRPC, 1000, 57e3, 58e3, 59e3),
		cell(Open, Immediate, Fairlead, 0, 16e3, 16e3, 16e3),
		cell(Open, Immediate, GRPC, 0, 16e3, 16e3, 16e3))
	for i := range 3 {
		r.Cell(Open, Immediate, Fairlead, 0).Rounds[i].P99 = 2 * time.Millisecond
		r.Cell(Open, Immediate, GRPC, 0).Rounds[i].P99 = time.Duration(5+i) * time.Millisecond
	}
	r.Values = []Value{
		NewValue(IdlePlain, UnitBytes, 4000, 4200, 4100), NewValue(IdleTLS, UnitBytes, 17<<10),
		NewValue(PickTime, UnitNanos, 11.4), NewValue(PickAllocs, UnitAllocs, 0),
		NewValue(ChangeTime, UnitMicros, 35.5), NewValue(CallAllocs, UnitAllocs, 1.5),
		NewValue(Per(Fairness, Fairlead), UnitTimes, 1.6, 1.2, 1.3),
	}
	r.Finish()
	return r
}

func outcome(t *testing.T, r *Report, name string) Outcome {
	t.Helper()
	for _, o := range r.Goals {
		if o.Name == name {
			return o
		}
	}
	t.Fatalf("no goal %q", name)
	return Outcome{}
}

func near(a, b float64) bool { return math.Abs(a-b) < 0.005 }

func TestMedian(t *testing.T) {
	for _, tt := range []struct {
		values []float64
		want   float64
	}{{nil, 0}, {[]float64{3}, 3}, {[]float64{4, 1}, 2.5}, {[]float64{9, 1, 5}, 5}, {[]float64{4, 1, 3, 2}, 2.5}} {
		if got := Median(tt.values); got != tt.want {
			t.Errorf("of %v: %v, want %v", tt.values, got, tt.want)
		}
	}
}

func TestRatios(t *testing.T) {
	a, b := cell(Proto, Immediate, Fairlead, 1, 100, 300, 200), cell(Proto, Immediate, GRPC, 1, 50, 100, 40)
	got, ok := Compare(&a, &b, CallsPerSec)
	if !ok || got.OfMedians != 4 || got.Lowest != 2 || got.Highest != 5 || got.Rounds != 3 {
		t.Errorf("%+v, %v", got, ok)
	}
	a.Rounds[1].CallsPerSec = 0 // a round that was lost
	if got, ok = Compare(&a, &b, CallsPerSec); !ok || got.OfMedians != 3 || got.Rounds != 2 || got.Highest != 5 {
		t.Errorf("with a lost round: %+v, %v", got, ok)
	}
	empty := Cell{Rounds: []Round{{}, {}}}
	for name, pair := range map[string][2]*Cell{
		"missing": {&a, nil}, "both missing": {nil, nil}, "zeros below": {&a, &empty}, "zeros above": {&empty, &a}, "no rounds": {&a, {}},
	} {
		if got, ok := Compare(pair[0], pair[1], CallsPerSec); ok || got != (Ratio{}) {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

func TestGoals(t *testing.T) {
	r := sample()
	for _, tt := range []struct {
		name       string
		got, worst float64
		state      State
		aim        bool
	}{
		{"calls/s, protobuf, 100 callers, over grpc-go", 5, 5, Reached, false},
		{"calls/s, protobuf, 1000 callers, over net/rpc", 160. / 71, 150. / 70, Reached, false},
		{"calls/s, protobuf, 1000 callers, over a drpc pool", 160. / 29, 150. / 29, Reached, false},
		{"calls/s, protobuf, 1000 callers, over the framed echo", 160. / 170, 150. / 165, Reached, false},
		{"calls/s, protobuf, 5000 callers, over 1000", 145. / 160, 150. / 170, Reached, false},
		{"calls/s, raw 581 B, 1000 callers, over grpc-go", 290. / 31, 290. / 32, Reached, false},
		{"p50 at one caller, over the ping-pong echo", 13.2 / 12.5, 13. / 12, Reached, false},
		{"p99 open loop, grpc-go's over ours", 3, 2.5, Reached, true},
		{"calls/s, handler sleeps 1 ms, 1000 callers, over net/rpc", 141. / 58, 142. / 59, Reached, true},
		{"allocations per call, both sides, raw, beside payloads and context", 1.5, 1.5, Reached, false},
		{"bytes per idle server connection, plaintext", 4100, 4200, Reached, false},
		{"bytes per idle server connection, TLS", 17 << 10, 17 << 10, NotReached, false},
		{"Pick, P2C over 10,000 endpoints, 2 goroutines", 11.4, 11.4, Reached, true},
		{"Pick, allocations", 0, 0, Reached, false},
		{"fairness, 100 callers: calls of the one served most over the least", 1.3, 1.6, Reached, false},
		{"applying one endpoint change at 10,000 endpoints", 35.5, 35.5, Reached, false},
	} {
		o := outcome(t, r, tt.name)
		if !near(o.Got, tt.got) || !near(o.Worst, tt.worst) || o.State != tt.state || o.AimedAt != tt.aim {
			t.Errorf("%s: got %v, worst %v, %s, aim %v; want %v, %v, %s, %v", tt.name, o.Got, o.Worst, o.State, o.AimedAt, tt.got, tt.worst, tt.state, tt.aim)
		}
	}
	if len(r.Goals) != len(goals) {
		t.Errorf("%d outcomes of %d goals", len(r.Goals), len(goals))
	}
}

func TestNothingMeasured(t *testing.T) {
	for name, r := range map[string]*Report{
		"empty": {},
		"zeros": {Cells: []Cell{
			cell(Proto, Immediate, Fairlead, 1000), cell(Proto, Immediate, GRPC, 1000, 1e4), cell(Proto, Immediate, Framed, 1000, 1e4),
			{Lane: Open, Handler: Immediate, Peer: Fairlead, Rounds: []Round{{}}}, {Lane: Open, Handler: Immediate, Peer: GRPC, Rounds: []Round{{P99: 1}}},
		}},
	} {
		r.Finish()
		for _, o := range r.Goals {
			if o.State != NotMeasured || o.Got != 0 || o.Worst != 0 {
				t.Errorf("%s: %s: %s, %v, %v", name, o.Name, o.State, o.Got, o.Worst)
			}
		}
		var b bytes.Buffer
		if err := errors.Join(r.WriteTable(&b), r.WriteMarkdown(&b), r.WriteLines(&b), r.WriteChart(t.TempDir())); err != nil {
			t.Error(err)
		}
		if s := b.String(); strings.Contains(s, "NaN") || strings.Contains(s, "Inf") || !strings.Contains(s, "not measured") {
			t.Errorf("%s: %s", name, s)
		}
	}
}

func TestWeakYardsticks(t *testing.T) {
	const framed, alone = "calls/s, protobuf, 1000 callers, over the framed echo", "p50 at one caller, over the ping-pong echo"
	set := func(r *Report, peer string, callers int, rate float64) {
		c := r.Cell(Proto, Immediate, peer, callers)
		*c = cell(Proto, Immediate, peer, callers, rate)
	}
	for name, tt := range map[string]struct {
		spoil func(*Report)
		want  State
		why   string
	}{
		"good":                  {func(*Report) {}, Reached, ""},
		"just strong enough":    {func(r *Report) { set(r, Framed, 1000, 3.5*32e3) }, Reached, ""},
		"framed too slow":       {func(r *Report) { set(r, Framed, 1000, 3.49*32e3) }, NotCounted, "3.49x"},
		"ping-pong too slow":    {func(r *Report) { set(r, PingPong, 1, 9e3) }, NotCounted, "one caller"},
		"no grpc-go":            {func(r *Report) { r.Cell(Proto, Immediate, GRPC, 1000).Rounds = nil }, NotCounted, "not measured"},
		"no net/rpc at one":     {func(r *Report) { r.Cell(Proto, Immediate, NetRPC, 1).Rounds = nil }, NotCounted, "not measured"},
		"yardstick not run":     {func(r *Report) { r.Cell(Proto, Immediate, Framed, 1000).Rounds = nil }, NotMeasured, ""},
		"ours failed sometimes": {func(r *Report) { r.Cell(Proto, Immediate, Fairlead, 1000).Rounds[0].Errors = 3 }, NotCounted, "3 calls"},
	} {
		r := sample()
		tt.spoil(r)
		r.Finish()
		if o := outcome(t, r, framed); o.State != tt.want || !strings.Contains(o.Why, tt.why) {
			t.Errorf("%s: %s, %q", name, o.State, o.Why)
		}
		if o := outcome(t, r, "Pick, allocations"); o.State != Reached {
			t.Errorf("%s: a row that leans on nothing is %s", name, o.State)
		}
		weak := name != "good" && name != "just strong enough" && name != "ours failed sometimes"
		if o := outcome(t, r, alone); (o.State == NotCounted) != weak {
			t.Errorf("%s: at one caller: %s", name, o.State)
		}
	}
}

// Failures of the open loop are calls that waited without end.
func TestFailuresInTheOpenLoop(t *testing.T) {
	r := sample()
	r.Cell(Open, Immediate, GRPC, 0).Rounds[0].Errors = 5
	r.Finish()
	if o := outcome(t, r, "p99 open loop, grpc-go's over ours"); o.State != Reached {
		t.Errorf("theirs failed: %s", o.State)
	}
	r.Cell(Open, Immediate, Fairlead, 0).Rounds[0].Errors = 5
	r.Finish()
	if o := outcome(t, r, "p99 open loop, grpc-go's over ours"); o.State != NotCounted {
		t.Errorf("ours failed: %s", o.State)
	}
}

func TestJSONComesBack(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "results")
	r := sample()
	if err := r.WriteJSON(dir); err != nil {
		t.Fatal(err)
	}
	got, err := Read(filepath.Join(dir, JSONFile))
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, r) {
		t.Errorf("got %+v, want %+v", got, r)
	}
	if _, err := Read(filepath.Join(dir, "absent")); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
}

func TestTable(t *testing.T) {
	var b strings.Builder
	if err := sample().WriteTable(&b); err != nil {
		t.Fatal(err)
	}
	text := strings.Join(strings.Fields(b.String()), " ")
	for _, want := range []string{
		"steal time 1.2 %", "grpc-go v1.81.0", "protobuf 581 B, 1000 callers",
		"grpc 32000 5.00x 5.00x 8.0 2.5 31.3µs 93.8µs 156µs 0",
		"bytes per idle server connection, TLS <= 16.00 KiB 10.00 KiB 17.00 KiB 17.00 KiB not reached",
		"calls/s, protobuf, 100 callers, over grpc-go >= 4.00x 5.50x 5.00x 5.00x reached",
		"Pick, allocations <= 0 allocs - 0 allocs - reached",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, b.String())
		}
	}
	if err := sample().WriteTable(brokenWriter{}); err == nil {
		t.Error("the error of the writer is lost")
	}
}

type brokenWriter struct{}

func (brokenWriter) Write([]byte) (int, error) { return 0, io.ErrClosedPipe }

func TestLines(t *testing.T) {
	var b strings.Builder
	if err := sample().WriteLines(&b); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"bench: lane=proto c=100 ours=160000 peer=grpc theirs=32000 ratio=5.00\n",
		"bench: lane=proto handler=sleep c=1000 ours=141000 peer=netrpc theirs=58000 ratio=2.43\n",
	} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("no %q in\n%s", want, b.String())
		}
	}
	if strings.Contains(b.String(), "peer=fairlead") || strings.Contains(b.String(), "lane=open") {
		t.Error(b.String())
	}
}

func TestMarkdownIsPasted(t *testing.T) {
	var b bytes.Buffer
	r := sample()
	r.Notes = []string{"a | b"}
	if err := r.WriteMarkdown(&b); err != nil {
		t.Fatal(err)
	}
	if s := b.String(); !strings.Contains(s, "| Pick, allocations | &lt;= 0") || !strings.Contains(s, "A & B &lt;CPU>") || !strings.Contains(s, "| grpc-go | v1.81.0 | no TLS |") || !strings.Contains(s, `a \| b`) {
		t.Error(s)
	}
	document := []byte("before\n" + PasteBegin + "\nold\n" + PasteEnd + "\nafter\n")
	once, err := Paste(document, b.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	if s := string(once); strings.Contains(s, "old") || !strings.HasPrefix(s, "before\n") || !strings.HasSuffix(s, "\nafter\n") || !strings.Contains(s, "goal") {
		t.Error(s)
	}
	if twice, err := Paste(once, b.Bytes()); err != nil || !bytes.Equal(once, twice) {
		t.Errorf("pasting again changes something: %v", err)
	}
	for _, bad := range []string{"", PasteBegin, PasteEnd + PasteBegin} {
		if _, err := Paste([]byte(bad), nil); err == nil {
			t.Errorf("%q has the comments", bad)
		}
	}
}

// The chart is XML, whatever the names are, and has a bar for each cell.
func TestChart(t *testing.T) {
	dir := t.TempDir()
	r := sample()
	r.Cells = append(r.Cells, cell(Proto, Immediate, `<&">`, 100, 5e3))
	if err := r.WriteChart(dir); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(dir, ChartFile))
	if err != nil {
		t.Fatal(err)
	}
	dec := xml.NewDecoder(bytes.NewReader(text))
	for {
		if _, err := dec.Token(); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
	}
	// Two lanes at 100 and at 1000 callers: twice 5 and twice 2 cells, and the odd one.
	if n := strings.Count(string(text), "<rect class="); n != 15 {
		t.Errorf("%d bars", n)
	}
}
