// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package rpcruntime

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fairlead/fairlead/rpcruntime/policy"
	"github.com/fairlead/fairlead/rpcruntime/registry"
	"github.com/fairlead/fairlead/rpcruntime/status"
)

// mustBeForgotten wants NotFound at once, with the error of a service that is
// gone and forgotten, and nothing dialled for it.
func (w *world) mustBeForgotten() {
	w.t.Helper()
	time.Sleep(20 * time.Second) // past all delays between dials
	before := w.dialled(one) + w.dialled(two)
	var gone *registry.GoneError
	if e := w.mustFailAtOnce(); !errors.As(e, &gone) || !gone.Forgotten {
		w.t.Errorf("is not the error of a forgotten service: %v", e)
	}
	if n := w.dialled(one) + w.dialled(two); n != before {
		w.t.Errorf("%d dials for a forgotten service", n-before)
	}
}

// callInVain wants Unavailable: nobody is there, but nothing is forgotten yet.
func (w *world) callInVain() {
	w.t.Helper()
	_, err := w.call(time.Second)
	wantFate(w.t, err, status.Unavailable, status.FateUnexecuted)
	time.Sleep(20 * time.Second)
}

func TestGoneServiceIsForgottenWhenItsEndpointsFail(t *testing.T) {
	inWorld(t, func(w *world) {
		w.serve(one)
		w.serve(two)
		w.changed(at(one), at(two))
		w.w.Invalid(goneService(false))
		for range 10 {
			w.mustCall()
		}
		w.down(one)
		for range 10 { // of which some find it down
			_, _ = w.call(time.Second)
			time.Sleep(time.Second)
		}
		if w.dialled(one) < 2 {
			t.Fatal("the one that is down was not tried")
		}
		w.mustCall() // the other one is there
		w.down(two)
		for range 2 {
			w.callInVain()
			if w.c.Snapshot() == nil {
				break // both were down at the first already
			}
		}
		w.mustBeForgotten()

		w.w.Invalid(goneService(false)) // as the registry says at each reconnect
		w.mustBeForgotten()
		w.serve(one)
		w.changed(at(one)) // it comes back
		w.mustCall()
		w.down(one)
		for range 3 {
			w.callInVain() // and is a service like any other
		}
		if w.c.Snapshot() == nil {
			t.Error("forgotten, but not gone")
		}
	})
}

func TestFailuresBeforeAServiceWasGoneDoNotCount(t *testing.T) {
	inWorld(t, func(w *world) {
		w.changed(at(one))
		w.callInVain()
		w.w.Invalid(goneService(false))
		if w.c.Snapshot() == nil {
			t.Fatal("forgotten without a failure since")
		}
		w.serve(one)
		w.mustCall()
		w.down(one)
		w.callInVain()
		w.mustBeForgotten()
	})
}

// connect dials one endpoint, as a call that was sent there does.
func (w *world) connect(id string) {
	w.t.Helper()
	state, ok := w.c.table.Lookup(id)
	if !ok {
		w.t.Fatalf("no endpoint %s", id)
	}
	_, _ = state.Attached().(*endpoint).link.Load().get(context.Background(), time.Now().Add(time.Second))
	time.Sleep(20 * time.Second)
}

// Each endpoint must have failed, and since the service was gone: one that was
// not asked since may be back.
func TestOneFailureDoesNotSpeakForAllEndpoints(t *testing.T) {
	inWorld(t, func(w *world) {
		w.changed(at(one), at(two))
		w.connect(one)
		w.connect(two)
		w.w.Invalid(goneService(false))
		w.connect(one)
		for range 50 { // whichever is looked at first
			w.c.endpointFailed()
		}
		if w.c.Snapshot() == nil {
			t.Fatal("forgotten though one endpoint was not asked")
		}
		w.connect(two)
		w.mustBeForgotten()
	})
}

func TestGoneServiceWithNothingToPickIsForgotten(t *testing.T) {
	for name, endpoints := range map[string][]policy.Endpoint{
		"no endpoints":                 nil,
		"suspects that never answered": {suspect(at(one)), suspect(at(two))},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				w.changed(endpoints...)
				w.callInVain()
				w.w.Invalid(goneService(false))
				w.callInVain()
				w.mustBeForgotten()
			})
		})
	}
}

// Suspects that answered are a last resort, and that one of them cannot be
// reached says nothing of the others.
func TestGoneSuspectsAreTriedBeforeTheyAreForgotten(t *testing.T) {
	inWorld(t, func(w *world) {
		w.serve(one)
		w.changed(at(one))
		w.mustCall()
		w.changed(suspect(at(one)), suspect(at(two)))
		w.w.Invalid(goneService(false))
		w.mustCall() // by its evidence
		w.down(one)
		if st := w.c.state.Load(); st.gone == nil {
			t.Fatal("the loss of a suspect's connection made the client forget that the service is gone")
		}
		w.callInVain()
		w.mustBeForgotten()
	})
}

// Wrong endpoints have connections, but lead to somebody else.
func TestGoneServiceOfWrongEndpointsIsForgotten(t *testing.T) {
	inWorld(t, func(w *world) {
		w.serve(one)
		w.changed(at(one), at(two))
		state, ok := w.c.table.Lookup(one)
		if !ok {
			t.Fatal("no such endpoint")
		}
		for w.dialled(one) == 0 {
			_, _ = w.call(time.Second)
			time.Sleep(time.Second)
		}
		synctest.Wait()
		state.Drop(w.rt.now())
		w.w.Invalid(goneService(false))
		w.callInVain()
		w.mustBeForgotten()
	})
}
