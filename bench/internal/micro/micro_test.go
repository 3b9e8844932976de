// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package micro

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/fairlead/fairlead/bench/internal/result"
)

func TestMain(m *testing.M) {
	if kind, child := strings.CutPrefix(os.Args[min(1, len(os.Args)-1)], Flag); child {
		if err := Child(context.Background(), kind, os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// The figure is that of a connection: not nothing, and not the whole process.
func TestIdleConnections(t *testing.T) {
	for _, overTLS := range []bool{false, true} {
		v, err := IdleConnections(t.Context(), 400, 1, overTLS, time.Millisecond)
		if errors.Is(err, errors.ErrUnsupported) {
			t.Skip(err)
		}
		if err != nil {
			t.Fatal(err)
		}
		if v.Value < 1<<10 || v.Value > 200<<10 || v.Unit != result.UnitBytes {
			t.Errorf("TLS %v: %+v", overTLS, v)
		}
		t.Logf("%s: %.0f bytes", v.Name, v.Value)
	}
}

func TestChildRefusesWhatItIsNotAsked(t *testing.T) {
	for _, ask := range []struct{ kind, params string }{
		{"cook", "false\n"}, {kindServer, ""}, {kindServer, "\n"}, {kindServer, "true 7\n"}, {kindDialler, "a - false many\n"}, {kindDialler, "a -\n"},
	} {
		if err := Child(t.Context(), ask.kind, strings.NewReader(ask.params), io.Discard); err == nil {
			t.Errorf("%+v: no error", ask)
		}
	}
}
