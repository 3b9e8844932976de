// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package registry

import (
	"context"
	"encoding/base64"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/go-logr/logr"
)

// around makes the surroundings of a Pod: files in its folder, and environment.
func around(t *testing.T, files, env map[string]string) Surroundings {
	t.Helper()
	dir := t.TempDir()
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return Look(func(name string) string {
		if name == "FAIRLEAD_CONFIG_DIR" {
			return dir
		}
		return env[name]
	})
}

func TestFilesSayWhatTheEnvironmentDoesNot(t *testing.T) {
	files := map[string]string{
		"address": "fairlead-registry.sys.svc:7443, other:1\n", "token": "secret\n", "namespace": "shop", "app": "cart", "pod-uid": "u", "pod-name": "cart-1",
	}
	s := around(t, files, nil)
	if s.Namespace != "shop" || s.App != "cart" || s.PodUID != "u" || s.Pod != "cart-1" || !s.Registry() || s.CAWanted {
		t.Errorf("%+v", s)
	}
	var cfg Config
	s.Configure(&cfg, nil, logr.Discard())
	addresses, err := cfg.Resolve()
	if err != nil || strings.Join(addresses, " ") != "fairlead-registry.sys.svc:7443 other:1" {
		t.Errorf("addresses %q: %v", addresses, err)
	}
	if token, err := cfg.Token(t.Context()); err != nil || token != "secret" {
		t.Errorf("token %q: %v", token, err)
	}

	s = around(t, files, map[string]string{
		"FAIRLEAD_REGISTRY": " a:1,b:2 ", "FAIRLEAD_NAMESPACE": "web", "FAIRLEAD_APP": "x", "FAIRLEAD_POD_UID": "v", "FAIRLEAD_SERVICES": "s",
		"FAIRLEAD_CACHE_DIR": "/c",
	})
	if s.Namespace != "web" || s.App != "x" || s.PodUID != "v" || strings.Join(s.Addresses, " ") != "a:1 b:2" || s.Services[0] != "s" || s.CacheDir != "/c" {
		t.Errorf("with an environment: %+v", s)
	}
	cfg = Config{}
	if s.Configure(&cfg, nil, logr.Discard()); cfg.Resolve != nil || len(cfg.Addresses) != 2 {
		t.Errorf("the file goes before the environment: %+v", cfg.Addresses)
	}
}

// TestTokenSaysTheNamespace has mounts that were written by hand, without the
// file namespace, in Pods that mount no other token.
func TestTokenSaysTheNamespace(t *testing.T) {
	token := func(claims string) string {
		return "e30." + base64.RawURLEncoding.EncodeToString([]byte(claims)) + ".c2ln\n"
	}
	of := token(`{"aud":["fairlead"],"kubernetes.io":{"namespace":"shop"}}`)
	for name, test := range map[string]struct {
		files, env map[string]string
		want       string
	}{
		"token":                 {map[string]string{"token": of}, nil, "shop"},
		"file before token":     {map[string]string{"token": of, "namespace": "web"}, nil, "web"},
		"environment before it": {map[string]string{"token": of}, map[string]string{"FAIRLEAD_NAMESPACE": "web"}, "web"},
		"another cluster's":     {map[string]string{"token": token(`{"sub":"x"}`)}, nil, ""},
		"no token":              {nil, nil, ""},
		"not three parts":       {map[string]string{"token": "a.b"}, nil, ""},
		"not base64":            {map[string]string{"token": "a.!.c"}, nil, ""},
		"not JSON":              {map[string]string{"token": "a.AAAA.c"}, nil, ""},
		"too long":              {map[string]string{"token": of + strings.Repeat(" ", MaxToken)}, nil, ""},
	} {
		if _, err := os.Stat(podNamespace); err == nil {
			t.Skip("this runs in a Pod, whose own namespace goes first")
		}
		if got := around(t, test.files, test.env).Namespace; got != test.want {
			t.Errorf("%s: namespace %q, want %q", name, got, test.want)
		}
	}
}

// TestWhatIsMissingIsNamed has Pods that were not injected, or half.
func TestWhatIsMissingIsNamed(t *testing.T) {
	says := func(what string, err error, texts ...string) {
		t.Helper()
		for _, text := range texts {
			if err == nil || !strings.Contains(err.Error(), text) {
				t.Errorf("%s: %v does not say %q", what, err, text)
			}
		}
	}
	configured := func(s Surroundings) (cfg Config) {
		s.Configure(&cfg, nil, logr.Discard())
		return cfg
	}
	half := around(t, map[string]string{"namespace": "shop"}, nil)
	cfg := configured(half)
	_, err := cfg.Resolve()
	says("no address", err, filepath.Join(half.Dir, "address"), "label the namespace shop rpc.fairlead.dev/registry=true")
	_, err = cfg.Token(t.Context())
	says("no token", err, filepath.Join(half.Dir, "token"), "fairlead inject")
	if hint := cfg.Unanswered(); !strings.Contains(hint, "ca.crt") || !strings.Contains(hint, "ConfigMap") {
		t.Errorf("hint %q", hint)
	}
	nothing := Look(func(name string) string {
		return map[string]string{"FAIRLEAD_CONFIG_DIR": "/nowhere", "FAIRLEAD_REGISTRY": "127.0.0.1:1"}[name]
	})
	if hint := configured(nothing).Unanswered(); !strings.Contains(hint, "/nowhere/ca.crt") || !strings.Contains(hint, "fairlead inject") {
		t.Errorf("hint %q", hint)
	}
	if bare := Look(func(name string) string {
		return map[string]string{"FAIRLEAD_CONFIG_DIR": "/nowhere"}[name]
	}); bare.Registry() {
		t.Error("there is a registry out of nothing")
	}
	named := around(t, nil, map[string]string{"FAIRLEAD_REGISTRY": "127.0.0.1:1", "FAIRLEAD_REGISTRY_CA": "/nowhere/ca"})
	_, err = configured(named).Dial(context.Background(), "127.0.0.1:1")
	says("authorities that are asked for", err, "/nowhere/ca", "FAIRLEAD_REGISTRY_CA")
	wrong := around(t, map[string]string{"ca.crt": "nonsense", "address": "nonsense"}, nil)
	cfg = configured(wrong)
	_, err = cfg.Dial(context.Background(), "127.0.0.1:1")
	says("authorities that are none", err, "ca.crt", "PEM")
	_, err = cfg.Resolve()
	says("an address that is none", err, "nonsense")
}
