// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package order

import (
	"math"
	"testing"

	"google.golang.org/protobuf/proto"
)

func TestBytes(t *testing.T) {
	for _, stamp := range []uint64{1, 1 << 31, math.MaxUint64} {
		m := New()
		m.Stamp = stamp
		if got := proto.Size(m); got != Bytes {
			t.Errorf("with stamp %d a message has %d bytes, want %d", stamp, got, Bytes)
		}
	}
}

func TestCheck(t *testing.T) {
	sent := New()
	good := func() *Order { return proto.Clone(sent).(*Order) }
	if err := Check(sent, good(), true); err != nil {
		t.Errorf("Check of an echo: %v", err)
	}
	bad := []struct {
		name   string
		change func(*Order)
		always bool // seen by a check that is not thorough, too
	}{
		{"stamp", func(m *Order) { m.Stamp++ }, true},
		{"note", func(m *Order) { m.Note = nil }, true},
		{"partner", func(m *Order) { m.Partner = nil }, true},
		{"city", func(m *Order) { m.City = "" }, false},
	}
	for _, b := range bad {
		reply := good()
		b.change(reply)
		if Check(sent, reply, true) == nil || b.always && Check(sent, reply, false) == nil {
			t.Errorf("Check does not see that %s differs", b.name)
		}
	}
	if Check(sent, nil, false) == nil {
		t.Error("Check does not see that there is no reply")
	}
}
