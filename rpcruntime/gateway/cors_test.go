// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"net/http"
	"net/http/httptest"
	"testing"
	"time"
)

func TestCORSOptions(t *testing.T) {
	for name, tt := range map[string]struct {
		c  CORS
		ok bool
	}{
		"one origin":                   {CORS{Origins: []string{"https://app.example"}}, true},
		"a port":                       {CORS{Origins: []string{"http://localhost:3000", "https://b.example"}, Credentials: true}, true},
		"all":                          {CORS{Origins: []string{"*"}}, true},
		"all with credentials":         {CORS{Origins: []string{"*"}, Credentials: true}, false},
		"all and one, credentials":     {CORS{Origins: []string{"https://a.example", "*"}, Credentials: true}, false},
		"all and one":                  {CORS{Origins: []string{"https://a.example", "*"}}, false},
		"none":                         {CORS{}, false},
		"a path":                       {CORS{Origins: []string{"https://a.example/"}}, false},
		"no scheme":                    {CORS{Origins: []string{"a.example"}}, false},
		"null, which anybody can be":   {CORS{Origins: []string{"null"}}, false},
		"a pattern":                    {CORS{Origins: []string{"https://*.example"}}, false},
		"capitals, which never come":   {CORS{Origins: []string{"https://A.example"}}, false},
		"a list as a method":           {CORS{Origins: []string{"*"}, Methods: []string{"GET, POST"}}, false},
		"every header":                 {CORS{Origins: []string{"*"}, Headers: []string{"*"}}, false},
		"a header with a line break":   {CORS{Origins: []string{"*"}, Headers: []string{"X\r\nY"}}, false},
		"an age from the time machine": {CORS{Origins: []string{"*"}, MaxAge: -1}, false},
	} {
		if err := (Options{CORS: &tt.c}).Validate(); (err == nil) != tt.ok {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func corsRequest(method, origin string, more ...string) *http.Request {
	r := httptest.NewRequest(method, "/Arith", http.NoBody)
	if origin != "" {
		r.Header.Set("Origin", origin)
	}
	for i := 0; i < len(more); i += 2 {
		r.Header.Add(more[i], more[i+1])
	}
	return r
}

func TestCORS(t *testing.T) {
	const ask, askHeaders = "Access-Control-Request-Method", "Access-Control-Request-Headers"
	one := CORS{Origins: []string{"https://a.example"}, MaxAge: time.Minute}
	withCredentials := CORS{Origins: []string{"https://a.example"}, Credentials: true}
	all := CORS{Origins: []string{"*"}}
	for _, tt := range []struct {
		name    string
		c       CORS
		r       *http.Request
		code    int
		origin  string
		headers map[string]string
	}{
		{"a call from an allowed origin", one, corsRequest("POST", "https://a.example"), 0, "https://a.example", map[string]string{"Vary": "Origin", "Access-Control-Allow-Credentials": ""}},
		{"from another", one, corsRequest("POST", "https://b.example"), 0, "", map[string]string{"Vary": "Origin", "Access-Control-Expose-Headers": ""}},
		{"from one that begins alike", one, corsRequest("POST", "https://a.example.evil.example"), 0, "", nil},
		{"without an origin", one, corsRequest("POST", ""), 0, "", map[string]string{"Vary": "Origin"}},
		{"with credentials", withCredentials, corsRequest("POST", "https://a.example"), 0, "https://a.example", map[string]string{"Access-Control-Allow-Credentials": "true"}},
		{"any origin", all, corsRequest("POST", "https://b.example"), 0, "*", map[string]string{"Vary": "", "Access-Control-Allow-Credentials": ""}},
		{"a preflight", one, corsRequest("OPTIONS", "https://a.example", ask, "POST", askHeaders, "content-type, x-rpcx-servicemethod", askHeaders, "AUTHORIZATION"), 204, "https://a.example", map[string]string{"Access-Control-Max-Age": "60", "Access-Control-Allow-Methods": "GET, POST, PUT"}},
		{"a preflight from another", one, corsRequest("OPTIONS", "https://b.example", ask, "POST"), 403, "", map[string]string{"Access-Control-Allow-Methods": ""}},
		{"a preflight for a method that is not allowed", one, corsRequest("OPTIONS", "https://a.example", ask, "DELETE"), 403, "", nil},
		{"a preflight for a header that is not allowed", one, corsRequest("OPTIONS", "https://a.example", ask, "POST", askHeaders, "x-other"), 403, "", nil},
		{"OPTIONS that is no preflight", one, corsRequest("OPTIONS", "https://a.example"), 0, "https://a.example", nil},
	} {
		rules, err := newCORSRules(&tt.c)
		if err != nil {
			t.Fatal(err)
		}
		h := http.Header{}
		if code := rules.apply(h, tt.r); code != tt.code {
			t.Errorf("%s: %d, want %d", tt.name, code, tt.code)
		}
		if got := h.Get("Access-Control-Allow-Origin"); got != tt.origin {
			t.Errorf("%s: allowed origin %q, want %q", tt.name, got, tt.origin)
		}
		for name, want := range tt.headers {
			if got := h.Get(name); got != want {
				t.Errorf("%s: %s is %q, want %q", tt.name, name, got, want)
			}
		}
	}
}
