// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package serve

import "testing"

func TestCheck(t *testing.T) {
	tests := []struct {
		address  string
		secure   bool
		insecure bool
		ok       bool
	}{
		{"127.0.0.1:7443", false, false, true},
		{"127.9.9.9:0", false, false, true},
		{"[::1]:7443", false, false, true},
		{"localhost:7443", false, false, true},
		{":7443", false, false, false},
		{"0.0.0.0:7443", false, false, false},
		{"[::]:7443", false, false, false},
		{"10.0.0.1:7443", false, false, false},
		{"localhost.example.com:7443", false, false, false},
		{":7443", false, true, true},
		{"10.0.0.1:7443", false, true, true},
		{":7443", true, false, true},
		{"10.0.0.1:7443", true, false, true},
		{"127.0.0.1", true, false, false},
		{"127.0.0.1", false, true, false},
		{"", false, false, false},
	}
	for _, test := range tests {
		if err := Check(test.address, test.secure, test.insecure); (err == nil) != test.ok {
			t.Errorf("%q secure %v insecure %v: %v", test.address, test.secure, test.insecure, err)
		}
	}
}
