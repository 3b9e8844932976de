// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"bytes"
	"crypto/sha256"
	"math/rand/v2"
	"testing"

	"github.com/vmihailenco/msgpack/v5"
)

func randomDigest(r *rand.Rand) (d Digest) {
	for i := range d {
		d[i] = byte(r.Uint32())
	}
	return d
}

func TestDigestArithmetic(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	for range 1000 {
		a, b, c := randomDigest(r), randomDigest(r), randomDigest(r)
		if a.Add(b) != b.Add(a) || a.Add(b).Add(c) != a.Add(b.Add(c)) {
			t.Fatalf("order of addition matters: %s %s %s", a, b, c)
		}
		if a.Add(b).Sub(b) != a || a.Sub(b).Add(b) != a {
			t.Fatalf("adding and taking away is not nothing: %s %s", a, b)
		}
	}
	ones := Digest(bytes.Repeat([]byte{0xff}, 16))
	one := Digest{15: 1}
	if !ones.Add(one).IsZero() || (Digest{}).Sub(one) != ones {
		t.Errorf("no wrap around at 2^128: %s", ones.Add(one))
	}
	if carried := (Digest{8: 0xff, 9: 0xff, 10: 0xff, 11: 0xff, 12: 0xff, 13: 0xff, 14: 0xff, 15: 0xff}).Add(one); carried != (Digest{7: 1}) {
		t.Errorf("no carry into the upper half: %s", carried)
	}
}

func TestDigestText(t *testing.T) {
	d := Digest{0x3f, 0xa9, 0xc2, 0x1e, 15: 0x07}
	if d.Short() != "3fa9c21e" || d.String() != "3fa9c21e000000000000000000000007" {
		t.Errorf("%s %s", d.Short(), d)
	}
	if back, err := ParseDigest(d.String()); err != nil || back != d {
		t.Errorf("%s, %v", back, err)
	}
	for _, s := range []string{"", "3fa9c21e", d.String() + "0", "zz" + d.String()[2:]} {
		if _, err := ParseDigest(s); err == nil {
			t.Errorf("%q was accepted", s)
		}
	}
}

func TestDigestMsgpack(t *testing.T) {
	in := []PartDigest{{Name: "owner", Digest: Digest{1, 15: 2}}}
	b, err := msgpack.Marshal(in)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(b, append([]byte{0xc4, 16}, in[0].Digest[:]...)) {
		t.Errorf("not 16 bytes of type bin: % x", b)
	}
	var out []PartDigest
	if err := msgpack.Unmarshal(b, &out); err != nil || out[0] != in[0] {
		t.Errorf("%v, %v", out, err)
	}
	for _, bad := range [][]byte{{0xc4, 15}, {0xc4, 17}, {0xc6, 0xff, 0xff, 0xff, 0xff}, {0x01}, {0xc4, 16, 1}} {
		var d Digest
		if err := msgpack.Unmarshal(bad, &d); err == nil {
			t.Errorf("% x was accepted as %s", bad, d)
		}
	}
}

// The digests travel between versions: the bytes that are hashed are fixed.
func TestDigestIsFixed(t *testing.T) {
	sum := sha256.Sum256([]byte("\x00\x00\x00\x00\x00\x00\x00\x02id\x00\x00\x00\x00\x00\x00\x00\x05bytes"))
	if got := ItemDigest("id", []byte("bytes")); got != Digest(sum[:16]) {
		t.Errorf("item: %s", got)
	}
	if ItemDigest("id", []byte("bytes")) == ItemDigest("idb", []byte("ytes")) {
		t.Error("the border between id and bytes does not count")
	}
	sum = sha256.Sum256([]byte("\x00\x00\x00\x00\x00\x00\x00\x01a\x00\x00\x00\x00\x00\x00\x00\x10" + "0123456789abcdef" +
		"\x00\x00\x00\x00\x00\x00\x00\x01b\x00\x00\x00\x00\x00\x00\x00\x10" + "fedcba9876543210"))
	a := PartDigest{"a", Digest([]byte("0123456789abcdef"))}
	b := PartDigest{"b", Digest([]byte("fedcba9876543210"))}
	if ServiceDigest([]PartDigest{a, b}) != Digest(sum[:16]) || ServiceDigest([]PartDigest{b, a}) != Digest(sum[:16]) {
		t.Errorf("service: %s", ServiceDigest([]PartDigest{a, b}))
	}
	a.Digest, b.Digest = b.Digest, a.Digest
	if ServiceDigest([]PartDigest{a, b}) == Digest(sum[:16]) {
		t.Error("which part has which digest does not count")
	}
}
