// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package serve

import "testing"

func TestCheck(t *testing.T) {
	tests := []struct {
		address  string
		insecure bool
		ok       bool
	}{
		{"127.0.0.1:7443", false, true},
		{"127.9.9.9:0", false, true},
		{"[::1]:7443", false, true},
		{"localhost:7443", false, true},
		{":7443", false, false},
		{"0.0.0.0:7443", false, false},
		{"[::]:7443", false, false},
		{"10.0.0.1:7443", false, false},
		{"localhost.example.com:7443", false, false},
		{":7443", true, true},
		{"10.0.0.1:7443", true, true},
		{"127.0.0.1", true, false},
		{"", false, false},
	}
	for _, test := range tests {
		if err := Check(test.address, test.insecure); (err == nil) != test.ok {
			t.Errorf("%q insecure %v: %v", test.address, test.insecure, err)
		}
	}
}
