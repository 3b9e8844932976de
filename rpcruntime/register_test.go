// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package rpcruntime

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/fairlead/fairlead/rpcruntime/codec"
	"github.com/fairlead/fairlead/rpcruntime/status"
)

// calculator has methods as rpcx wants them, and others.
type calculator struct{}

func (calculator) Add(_ context.Context, a *mulArgs, r *mulReply) error { r.C = a.A + a.B; return nil }
func (calculator) Sub(_ context.Context, a mulArgs, r *mulReply) error  { r.C = a.A - a.B; return nil }
func (calculator) Fail(context.Context, *mulArgs, *mulReply) error      { return errors.New("boom") }
func (calculator) Helper() int                                          { return 0 }

func TestRegisterMethods(t *testing.T) {
	srv := newRuntime(t).NewServer()
	for name, err := range map[string]error{
		"Nope":         srv.RegisterMethods("Calc", calculator{}, "Add", "Nope", "Helper"),
		"rcvr is nil":  srv.RegisterMethods("Calc", nil, "Add"),
		"name them":    srv.RegisterMethods("Calc", calculator{}),
		"not allowed":  srv.RegisterMethods("", calculator{}, "Add"),
		"protocol":     srv.RegisterMethods("__fl", calculator{}, "Add"),
		"already":      srv.RegisterMethods("Calc", calculator{}, "Sub", "Add", "Sub"),
		"func() error": srv.RegisterFunction("Calc.F", func() error { return nil }),
		"int":          srv.RegisterFunction("Calc.F", 7),
		"<nil>":        srv.RegisterFunction("Calc.F", nil),
		"Calc":         srv.RegisterFunction("Calc", calculator{}.Add),
		"third":        srv.RegisterFunction("Calc.F", func(context.Context, *mulArgs, mulReply) error { return nil }),
	} {
		if err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("want an error about %s, got %v", name, err)
		}
	}
	if err := srv.RegisterMethods("Calc", calculator{}, "Nope", "Helper"); err == nil || !strings.Contains(err.Error(), "Helper") || !strings.Contains(err.Error(), "Nope") {
		t.Errorf("not every wrong method is named: %v", err)
	}
	if len(srv.handlers.Load().byName) != 0 {
		t.Errorf("a registration that failed left %v", srv.handlers.Load().byName)
	}
	if err := srv.RegisterMethods("Calc", calculator{}, "Add", "Fail"); err != nil {
		t.Fatal(err)
	}
	// rpcx panicked over a function beside a struct's methods.
	if err := srv.RegisterFunction("Calc.Mul", func(_ context.Context, a *mulArgs, r *mulReply) error {
		r.C = a.A * a.B
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if err := srv.RegisterFunction("Calc.Add", calculator{}.Add); err == nil {
		t.Error("a name was taken twice")
	}
	if err := srv.RegisterFunction("Alone.Sub", calculator{}.Sub); err != nil {
		t.Fatal(err)
	}
	start(t, srv, listen(t, ""))
	serving(t, srv)
	for method, want := range map[string]string{"Calc.Add": `{"C":9}`, "Calc.Mul": `{"C":14}`, "Alone.Sub": `{"C":-5}`} {
		path, name, _ := strings.Cut(method, ".")
		r := srv.Do(t.Context(), &ForeignCall{Path: path, Method: name, Codec: codec.TypeJSON, Payload: []byte(`{"A":2,"B":7}`)})
		if r.Err != nil || string(r.Payload) != want {
			t.Errorf("%s: %q, %v", method, r.Payload, r.Err)
		}
	}
	r := srv.Do(t.Context(), &ForeignCall{Path: "Calc", Method: "Sub", Codec: codec.TypeJSON, Payload: []byte(`{}`)})
	wantFate(t, r.Err, status.Unimplemented, status.FateUnexecuted)
	r = srv.Do(t.Context(), &ForeignCall{Path: "Calc", Method: "Fail", Codec: codec.TypeJSON, Payload: []byte(`{}`)})
	wantFate(t, r.Err, status.Unknown, status.FateExecuted)
}
