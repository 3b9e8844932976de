// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"sync"
)

// maxID bounds an id, in bytes.
const maxID = 256

// ledger counts how often each call that is not idempotent began to run. It is
// safe for concurrent use.
type ledger struct {
	mu  sync.Mutex
	ran map[string]int
}

// keepLedger serves a ledger until ctx ends.
func keepLedger(ctx context.Context, address string) error {
	l := &ledger{ran: map[string]int{}}
	mux := http.NewServeMux()
	mux.HandleFunc("/readyz", ok)
	mux.HandleFunc("POST /note", l.note)
	mux.HandleFunc("GET /ran", l.tell)
	end, err := web(ctx, address, mux)
	if err != nil {
		return err
	}
	<-ctx.Done()
	return end()
}

func (l *ledger) note(w http.ResponseWriter, r *http.Request) {
	id, err := io.ReadAll(io.LimitReader(r.Body, maxID))
	if err != nil || len(id) == 0 {
		http.Error(w, "no id", http.StatusBadRequest)
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ran[string(id)]++
}

// tell answers with how often each call ran.
func (l *ledger) tell(w http.ResponseWriter, _ *http.Request) {
	l.mu.Lock()
	defer l.mu.Unlock()
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(l.ran) // whoever asked is gone
}
