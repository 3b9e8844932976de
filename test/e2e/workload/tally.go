// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"math"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/fairlead/fairlead/rpcruntime"
	"github.com/fairlead/fairlead/rpcruntime/policy"
	"github.com/fairlead/fairlead/rpcruntime/status"
)

// maxTexts bounds how many different errors are kept; the rest is counted only.
const maxTexts = 40

// report is what the caller tells of itself. Numbers go up only.
type report struct {
	Begun    int            `json:"begun"`
	Answered int            `json:"answered"`
	Pods     map[string]int `json:"pods"` // answered, by who answered
	// Failed are the calls that ended with an error, Unknown those of them of
	// which it is not known whether they ran.
	Failed  int            `json:"failed"`
	Unknown int            `json:"unknown"`
	Writes  writes         `json:"writes"` // those of all that are not idempotent
	Missed  int            `json:"missed"` // never begun, because this machine was too slow
	Texts   map[string]int `json:"texts"`
	Slowest int64          `json:"slowestMillis"` // of those answered since the last report
	// LeftMost is the most that a server saw left of a call's deadline, in
	// milliseconds, since the last report: the timeout that is in force.
	LeftMost int64 `json:"leftMostMillis"`
	// Digests are the states of the service by which calls are made, and how many
	// clients have each.
	Digests map[string]int `json:"digests"`
	// Ready is the number of ready endpoints, of the client that has fewest.
	Ready int `json:"ready"`
}

// writes counts calls that are not idempotent.
type writes struct {
	Answered int `json:"answered"`
	Failed   int `json:"failed"`
	Unknown  int `json:"unknown"`
}

// tally counts calls. It is safe for concurrent use.
type tally struct {
	mu  sync.Mutex
	now report
	// told says what the caller was told of each call that is not idempotent:
	// answered, refused (it certainly did not run) or unknown.
	told map[string]string
}

func newTally() *tally {
	return &tally{now: report{Pods: map[string]int{}, Texts: map[string]int{}}, told: map[string]string{}}
}

func (t *tally) begin() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.now.Begun++
}

func (t *tally) missed(n int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.now.Missed += n
}

func (t *tally) end(id string, md rpcruntime.Metadata, err error, took time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if err == nil {
		t.now.Answered++
		t.now.Pods[md[metaPod]]++
		t.now.Slowest = max(t.now.Slowest, took.Milliseconds())
		if left, err := strconv.ParseInt(md[metaLeft], 10, 64); err == nil {
			t.now.LeftMost = max(t.now.LeftMost, left)
		}
	} else {
		t.failed(err)
	}
	if id != "" {
		t.write(id, err)
	}
}

func (t *tally) failed(err error) {
	t.now.Failed++
	if status.FateOf(err) == status.FateUnknown {
		t.now.Unknown++
	}
	text := err.Error()
	if _, known := t.now.Texts[text]; !known && len(t.now.Texts) >= maxTexts {
		text = "others"
	}
	t.now.Texts[text]++
}

func (t *tally) write(id string, err error) {
	switch {
	case err == nil:
		t.told[id] = "answered"
		t.now.Writes.Answered++
	case status.FateOf(err) == status.FateUnexecuted:
		t.told[id] = "refused"
		t.now.Writes.Failed++
	default:
		t.told[id] = "unknown"
		t.now.Writes.Failed++
		t.now.Writes.Unknown++
	}
}

// tell answers with the report.
func (t *tally) tell(w http.ResponseWriter, clients []*rpcruntime.Client) {
	digests, fewest := map[string]int{}, math.MaxInt
	for _, client := range clients {
		digest, ready := "none", 0
		if snapshot := client.Snapshot(); snapshot != nil {
			digest, ready = snapshot.Digest.Short(), readyIn(snapshot)
		}
		digests[digest]++
		fewest = min(fewest, ready)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.now.Digests, t.now.Ready = digests, fewest
	w.Header().Set("Content-Type", "application/json")
	if err := json.NewEncoder(w).Encode(&t.now); err == nil {
		t.now.Slowest, t.now.LeftMost = 0, 0
	}
}

func readyIn(snapshot *policy.Snapshot) (n int) {
	for i := range snapshot.Endpoints {
		if snapshot.Endpoints[i].State == policy.Ready {
			n++
		}
	}
	return n
}

// tellWrites answers with what the caller was told of each call that is not
// idempotent.
func (t *tally) tellWrites(w http.ResponseWriter, _ *http.Request) {
	t.mu.Lock()
	defer t.mu.Unlock()
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(t.told) // whoever asked is gone
}
