// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package metrics

import (
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
)

// codes is the number of status codes. The set is closed.
const codes = 17

// codeUnknown is what a number outside of the set counts as.
const (
	codeUnknown     = 2
	codeUnknownName = "Unknown"
)

// byCode are the counters of one method, each made when its code first occurs:
// most methods end with two or three of them.
type byCode struct {
	vec    *prometheus.CounterVec
	labels []string // all but the last, which is the code
	of     [codes]atomic.Pointer[prometheus.Counter]
}

func (b *byCode) inc(code uint32, name string) {
	if code >= codes {
		code, name = codeUnknown, codeUnknownName
	}
	c := b.of[code].Load()
	if c == nil {
		made := b.vec.WithLabelValues(append(b.labels[:len(b.labels):len(b.labels)], name)...)
		c = &made
		b.of[code].Store(c) // whoever else stores one stores the same
	}
	(*c).Inc()
}
