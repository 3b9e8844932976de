// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// CORS says which scripts of other origins may call. The zero value of a field
// but Origins is its default.
type CORS struct {
	// Origins are those that may call, each as browsers send it, such as
	// https://app.example:8443; or the single entry * for all.
	Origins []string
	// Methods may be used. Default GET, POST, PUT.
	Methods []string
	// Headers may be sent. Default Authorization, Content-Type and the headers of
	// the gateway's requests.
	Headers []string
	// Credentials lets scripts send cookies and client certificates. It must not
	// be set together with the origin *.
	Credentials bool
	// MaxAge is how long browsers may remember a preflight. Default 10 min.
	MaxAge time.Duration
}

// corsRules is a CORS in the form in which it is asked. It is immutable.
type corsRules struct {
	anyOrigin        bool
	origins          []string
	methods          []string
	headers          []string // in lower case
	credentials      string   // "true" or empty
	allowMethods     string
	allowHeaders     string
	exposed, seconds string
}

var errWildcardCredentials = errors.New("the origin * must not be combined with Credentials: every site could then act as its visitor; name the origins")

// newCORSRules checks c and makes rules of it; nil for nil.
func newCORSRules(c *CORS) (*corsRules, error) {
	if c == nil {
		return nil, nil // no rules is a value: CORS is off
	}
	r := &corsRules{
		origins: slices.Clone(c.Origins), methods: slices.Clone(c.Methods),
		exposed: strings.Join(responseHeaders, ", "), seconds: "600",
	}
	if err := r.checkOrigins(c.Credentials); err != nil {
		return nil, err
	}
	if c.Credentials {
		r.credentials = "true"
	}
	if len(r.methods) == 0 {
		r.methods = []string{http.MethodGet, http.MethodPost, http.MethodPut}
	}
	names := c.Headers
	if len(names) == 0 {
		names = requestHeaders
	}
	for _, word := range slices.Concat(r.methods, names) {
		if word == "*" || !isToken(word) {
			return nil, fmt.Errorf("%q is not the name of a method or header: list each by its name", word)
		}
	}
	r.allowMethods, r.allowHeaders = strings.Join(r.methods, ", "), strings.Join(names, ", ")
	for _, name := range names {
		r.headers = append(r.headers, strings.ToLower(name))
	}
	switch {
	case c.MaxAge < 0:
		return nil, fmt.Errorf("MaxAge is %s: it must not be negative; 0 is the default", c.MaxAge)
	case c.MaxAge > 0:
		r.seconds = strconv.FormatInt(int64(c.MaxAge/time.Second), 10)
	}
	return r, nil
}

func (r *corsRules) checkOrigins(credentials bool) error {
	if len(r.origins) == 0 {
		return errors.New("no origin is named: nobody could call")
	}
	for _, o := range r.origins {
		if o == "*" {
			if credentials {
				return errWildcardCredentials
			}
			r.anyOrigin = true
			continue
		}
		u, err := url.Parse(o)
		if err != nil || u.Scheme == "" || u.Host == "" || u.Scheme+"://"+u.Host != o || strings.ToLower(o) != o || strings.Contains(o, "*") {
			return fmt.Errorf("origin %q is not of the form scheme://host or scheme://host:port, in lower case and without a path", o)
		}
	}
	if r.anyOrigin && len(r.origins) > 1 {
		return errors.New("the origin * stands beside others: name * alone, or leave it out")
	}
	return nil
}

func (r *corsRules) allows(origin string) bool {
	return r.anyOrigin || slices.Contains(r.origins, origin)
}

// allowOrigin says in an answer that origin may see it. The origin must be an
// allowed one.
func (r *corsRules) allowOrigin(h http.Header, origin string) {
	if r.anyOrigin {
		origin = "*"
	}
	h.Set("Access-Control-Allow-Origin", origin)
	if r.credentials != "" {
		h.Set("Access-Control-Allow-Credentials", r.credentials)
	}
}

// apply fills in what CORS says about the request r in the header h of its
// answer. handled is the status of a preflight, which ends there, or 0.
func (r *corsRules) apply(h http.Header, req *http.Request) (handled int) {
	if !r.anyOrigin {
		h.Add("Vary", "Origin") // without it, a cache gives one origin's answer to another
	}
	origin := req.Header.Get("Origin")
	asked := req.Header.Get("Access-Control-Request-Method")
	preflight := req.Method == http.MethodOptions && asked != ""
	switch {
	case origin == "":
		return 0 // no script of a browser, or its own origin
	case !preflight:
		if r.allows(origin) {
			r.allowOrigin(h, origin)
			h.Set("Access-Control-Expose-Headers", r.exposed)
		}
		return 0
	}
	h.Add("Vary", "Access-Control-Request-Method, Access-Control-Request-Headers")
	if !r.allows(origin) || !slices.Contains(r.methods, asked) || !r.allowsHeaders(req.Header.Values("Access-Control-Request-Headers")) {
		return http.StatusForbidden
	}
	r.allowOrigin(h, origin)
	h.Set("Access-Control-Allow-Methods", r.allowMethods)
	h.Set("Access-Control-Allow-Headers", r.allowHeaders)
	h.Set("Access-Control-Max-Age", r.seconds)
	return http.StatusNoContent
}

func (r *corsRules) allowsHeaders(lines []string) bool {
	for _, line := range lines {
		for name := range strings.SplitSeq(line, ",") {
			name = strings.ToLower(strings.TrimSpace(name))
			if name != "" && !slices.Contains(r.headers, name) {
				return false
			}
		}
	}
	return true
}

// isToken reports whether s is a token of RFC 9110, as names are.
func isToken(s string) bool {
	for _, c := range []byte(s) {
		if !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.IndexByte("!#$%&'*+-.^_`|~", c) >= 0) {
			return false
		}
	}
	return s != ""
}
