// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/fairlead/fairlead/cmd/fairlead/internal/explain"
)

const shop = "internal/explain/testdata/shop"

func TestExplainUsage(t *testing.T) {
	for args, want := range map[string]string{
		"explain":                                                            "SERVICE is missing",
		"explain shop/arith":                                                 "METHOD is missing",
		"explain shop/arith Arith.Mul":                                       "--caller NAMESPACE/NAME",
		"explain --caller web shop/arith Arith.Mul":                          `--caller "web" is not NAMESPACE/NAME`,
		"explain --caller a/b/c shop/arith Arith.Mul":                        `"a/b/c"`,
		"explain --caller web/c shop/arith/x Arith.Mul -f " + shop:           "shop/arith/x",
		"explain --caller web/c shop/arith Arith -f " + shop:                 `"Arith"`,
		"explain --caller web/c shop/arith Arith.Mul -o yaml":                `"yaml"`,
		"explain --caller web/c shop/arith Arith.Mul --timeout 0s":           "--timeout",
		"explain --caller web/c shop/arith Arith.Mul --context c -f " + shop: "-f asks no cluster",
		"status --registry 127.0.0.1:1":                                      "which services?",
		"status a --registry 127.0.0.1:1 -A":                                 "--registry asks the registry alone",
		"status a/b/c -f " + shop:                                            "a/b/c",
		"endpoints a --registry 127.0.0.1:1 -f " + shop:                      "give one",
	} {
		fairlead(t, strings.Fields(args)...).says(t, exitUsage, "stderr", want)
	}
}

func TestExplainFolder(t *testing.T) {
	ask := []string{"explain", "--caller", "web/checkout", "shop/arith", "Arith.Mul", "-f", shop}
	fairlead(t, ask...).says(t, exitOK, "stdout", "retry.perTryTimeout   50ms", "RPCCallPolicy web/checkout-fast (gen 1)", "100ms (RPCCallPolicy shop/arith)")
	fairlead(t, "explain", "--caller", "web/checkout", "arith", "Arith.Mul", "-n", "shop", "-f", shop).says(t, exitOK, "stdout", "shop/arith")
	var answer explain.Call
	if err := json.Unmarshal([]byte(fairlead(t, append(ask, "-o", "json")...).out), &answer); err != nil || len(answer.Fields) != 8 || answer.Digest == "" {
		t.Errorf("got %+v, %v", answer, err)
	}
	fairlead(t, "explain", "--caller", "web/checkout", "shop/airth", "A.B", "-f", shop).says(t, exitFailed, "stderr", "did you mean shop/arith?")
	fairlead(t, "explain", "--caller", "web/checkout", "arith", "A.B", "-f", shop).says(t, exitFailed, "stderr", "default/arith", "did you mean shop/arith?")
	fairlead(t, "explain", "--caller", "shop/x", "shop/ledger", "Ledger.Pots", "-f", shop).says(t, exitFailed, "stderr", "did you mean Ledger.Post?")
	fairlead(t, "explain", "--caller", "web/checkout", "shop/arith", "A.B", "-f", "/no/such").says(t, exitFailed, "stderr", "/no/such")
	fairlead(t, "explain", "--caller", "web/checkout", "shop/arith", "A.B").says(t, exitFailed, "stderr", "KUBECONFIG")
}

func TestStatusAndEndpointsOfFolder(t *testing.T) {
	fairlead(t, "status", "-f", shop).says(t, exitOK, "stdout", "shop/arith    True    1/2", "shop/ledger  UnresolvedRefs")
	if got := fairlead(t, "status", "arith", "-n", "shop", "-f", shop); strings.Contains(got.out, "ledger") || !strings.Contains(got.out, "arith") {
		t.Errorf("got %s", got.out)
	}
	fairlead(t, "status", "-n", "web", "-f", shop).says(t, exitOK, "stdout", "there is no RPCService")
	fairlead(t, "endpoints", "shop/arith", "-f", shop).says(t, exitOK, "stdout", "from manifests", "Skipped", "Out")
	fairlead(t, "status").says(t, exitFailed, "stderr", "KUBECONFIG")
}

// TestStatusOfRegistry: what is compiled here is what a registry serves.
func TestStatusOfRegistry(t *testing.T) {
	r := serveFolder(t, shop, t.TempDir(), "127.0.0.1:0")
	var asked, compiled explain.Status
	for answer, args := range map[*explain.Status][]string{&asked: {"--registry", r.address, "-n", "shop"}, &compiled: {"-f", shop}} {
		got := fairlead(t, append([]string{"status", "shop/arith", "-o", "json"}, args...)...)
		if err := json.Unmarshal([]byte(got.out), answer); err != nil || len(answer.Services) != 1 {
			t.Fatalf("%v\n%s%s", err, got.out, got.errOut)
		}
	}
	if a, b := asked.Services[0], compiled.Services[0]; a.Digest != b.Digest || a.Endpoints != b.Endpoints || len(a.Digest) != 8 {
		t.Errorf("the registry says %+v, and what is compiled %+v", a, b)
	}
	t.Setenv("FAIRLEAD_REGISTRY", r.address)
	fairlead(t, "status", "shop/arith").says(t, exitOK, "stdout", compiled.Services[0].Digest)
	fairlead(t, "endpoints", "shop/arith").says(t, exitOK, "stdout", "registry "+r.address, "terminating: not used while others are ready")
	fairlead(t, "endpoints", "shop/arith", "-f", shop).says(t, exitOK, "stdout", "from manifests")
	// A caller elsewhere has policies of its own, and so another digest: the one
	// that is explained.
	var answer explain.Call
	got := fairlead(t, "explain", "--caller", "web/checkout", "shop/arith", "Arith.Mul", "-f", shop, "-o", "json")
	if err := json.Unmarshal([]byte(got.out), &answer); err != nil {
		t.Fatal(err)
	}
	fairlead(t, "endpoints", "shop/arith", "-n", "web").says(t, exitOK, "stdout", "digest "+answer.Digest)
	if answer.Digest == compiled.Services[0].Digest {
		t.Error("callers in web have the digest of those in shop")
	}
}
