// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package rpcruntime

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/fairlead/fairlead/rpcruntime/status"
)

// TestRuntimeInAPod makes a runtime without any option, where files are mounted,
// and not all of them.
func TestRuntimeInAPod(t *testing.T) {
	dir, cache := t.TempDir(), t.TempDir()
	for name, content := range map[string]string{"namespace": "shop", "app": "cart", "pod-uid": "u-1"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("FAIRLEAD_CONFIG_DIR", dir)
	t.Setenv("FAIRLEAD_CACHE_DIR", cache)
	rt, err := New()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = rt.Close(context.Background()) }() // what ends is the test
	env := rt.opts.env
	if env.namespace != "shop" || env.caller() != "shop/cart" || env.podUID != "u-1" || rt.registry == nil {
		t.Errorf("%+v", env)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
	defer cancel()
	_, err = Call[struct{}](ctx, rt.NewClient("other"), "Other.Do", struct{}{})
	if status.CodeOf(err) != status.DeadlineExceeded || !strings.Contains(err.Error(), filepath.Join(dir, "address")) ||
		!strings.Contains(err.Error(), "rpc.fairlead.dev/registry=true") {
		t.Errorf("a call without an address: %v", err)
	}
	without, err := New(WithoutRegistry())
	if err != nil || without.registry != nil {
		t.Errorf("a registry against the option: %v", err)
	}
	_ = without.Close(context.Background()) // what ends is the test
}
