// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math/bits"
	"slices"
	"strings"

	"github.com/vmihailenco/msgpack/v5"
)

// Add gives d + other mod 2^128: a part's digest after an item was added.
func (d Digest) Add(other Digest) Digest {
	low, carry := bits.Add64(d.low(), other.low(), 0)
	high, _ := bits.Add64(d.high(), other.high(), carry)
	return digestOf(high, low)
}

// Sub gives d - other mod 2^128: a part's digest after an item was removed.
func (d Digest) Sub(other Digest) Digest {
	low, borrow := bits.Sub64(d.low(), other.low(), 0)
	high, _ := bits.Sub64(d.high(), other.high(), borrow)
	return digestOf(high, low)
}

func (d Digest) high() uint64 { return binary.BigEndian.Uint64(d[:8]) }
func (d Digest) low() uint64  { return binary.BigEndian.Uint64(d[8:]) }

func digestOf(high, low uint64) (d Digest) {
	binary.BigEndian.PutUint64(d[:8], high)
	binary.BigEndian.PutUint64(d[8:], low)
	return d
}

// IsZero says whether d is the digest of nothing.
func (d Digest) IsZero() bool { return d == Digest{} }

// String gives 32 hex digits.
func (d Digest) String() string { return hex.EncodeToString(d[:]) }

// Short gives the first 8 hex digits: what people see.
func (d Digest) Short() string { return hex.EncodeToString(d[:4]) }

// ParseDigest reads what String wrote.
func ParseDigest(s string) (Digest, error) {
	var d Digest
	if len(s) != hex.EncodedLen(len(d)) {
		return d, fmt.Errorf("digest %.40q has %d characters, not %d", s, len(s), hex.EncodedLen(len(d)))
	}
	if _, err := hex.Decode(d[:], []byte(s)); err != nil {
		return Digest{}, fmt.Errorf("digest %q: %w", s, err)
	}
	return d, nil
}

// EncodeMsgpack implements msgpack.CustomEncoder: 16 bytes of type bin.
func (d Digest) EncodeMsgpack(enc *msgpack.Encoder) error { return enc.EncodeBytes(d[:]) }

// DecodeMsgpack implements msgpack.CustomDecoder.
func (d *Digest) DecodeMsgpack(dec *msgpack.Decoder) error {
	n, err := dec.DecodeBytesLen()
	if err != nil {
		return err
	}
	// The length is checked before a byte is allocated or read.
	if n != len(d) {
		return fmt.Errorf("digest has %d bytes, not %d", n, len(d))
	}
	return dec.ReadFull(d[:])
}

// ItemDigest is the digest of one item as it came, undecoded: the first 16
// bytes of SHA-256 over the id and the bytes, each after its length as 8 bytes,
// big end first.
func ItemDigest(id string, encoded []byte) Digest {
	h := sha256.New()
	writeSized(h.Write, []byte(id))
	writeSized(h.Write, encoded)
	return Digest(h.Sum(nil)[:len(Digest{})])
}

// ServiceDigest is the digest of a service as one subscriber gets it: a hash
// of the names and digests of its parts in the order of the names.
func ServiceDigest(parts []PartDigest) Digest {
	sorted := slices.Clone(parts)
	slices.SortFunc(sorted, func(a, b PartDigest) int { return strings.Compare(a.Name, b.Name) })
	h := sha256.New()
	for _, p := range sorted {
		writeSized(h.Write, []byte(p.Name))
		writeSized(h.Write, p.Digest[:])
	}
	return Digest(h.Sum(nil)[:len(Digest{})])
}

// writeSized writes to a hash, which never fails.
func writeSized(write func([]byte) (int, error), b []byte) {
	var size [8]byte
	binary.BigEndian.PutUint64(size[:], uint64(len(b)))
	_, _ = write(size[:])
	_, _ = write(b)
}
