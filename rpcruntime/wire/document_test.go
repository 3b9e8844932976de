// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"slices"
	"strings"
	"testing"
	"time"
)

// The examples of docs/wire-protocol.md §12 are frames, and say what they are
// said to say.
func TestExamplesOfTheDocument(t *testing.T) {
	text, err := os.ReadFile("../../docs/wire-protocol.md")
	if errors.Is(err, fs.ErrNotExist) {
		t.Skip("this module without its repository has no documents")
	}
	if err != nil {
		t.Fatal(err)
	}
	_, examples, found := strings.Cut(string(text), "\n## §12 ")
	if !found {
		t.Fatal("there is no §12")
	}
	meta := func(k, v string) [][2]string { return [][2]string{{k, v}} }
	control := RequestHeader(0, SerializeRaw, true)
	request := func(seq uint64) Header { return RequestHeader(seq, SerializeJSON, false) }
	const beat = "\xd3\x17\x97\x9c\xfe\x36\x2a\x00\x00"
	want := []parts{
		{request(1), "Arith", "Mul", nil, `{"A":10,"B":20}`},
		{request(1).Reply(StatusNormal), "Arith", "Mul", nil, `{"C":200}`},
		{request(5), "Arith", "Mul", meta(KeyServerTimeout, "1500"), `{}`},
		{request(4).Reply(StatusError), "Arith", "Nope", meta(KeyError, "rpcx: can't find method Nope"), ""},
		{HeartbeatHeader(3), "", "", nil, beat},
		{HeartbeatHeader(3).Reply(StatusNormal), "", "", nil, beat},
		{control, ControlPath, MethodHello, nil, string(AppendHello(nil, Hello{Seq: 0xdeadbeef, Features: []string{FeatureDrain}}))},
		{control, ControlPath, MethodDrain, nil, string(AppendDrain(nil, 23*time.Second))},
		{control, ControlPath, MethodBye, nil, string(AppendBye(nil, 300))},
		{control, ControlPath, MethodCancel, nil, string(AppendCancel(nil, 0x0000000700000002))},
		{control, ControlPath, MethodWindow, nil, string(AppendWindow(nil, Window{Calls: 16384, Bytes: 64 << 20}))},
		{control, ControlPath, MethodLoad, nil, string(AppendLoad(nil, Load{InFlight: 12, QueueDelay: 250 * time.Microsecond, Utilisation: 7}))},
	}
	var got [][]byte
	for line := range strings.Lines(examples) {
		switch line = strings.TrimSuffix(line, "\n"); {
		case strings.HasPrefix(line, "    08 "):
			got = append(got, unhex(t, line))
		case strings.HasPrefix(line, "    | "):
			got[len(got)-1] = slices.Concat(got[len(got)-1], unhex(t, line))
		}
	}
	if len(got) != len(want) {
		t.Fatalf("%d examples, want %d", len(got), len(want))
	}
	for i, b := range got {
		if built := want[i].build(); !bytes.Equal(b, built) {
			t.Errorf("example %d is\n%x, want\n%x", i+1, b, built)
		}
	}
}
