// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package wire

import "fmt"

// Limits bound what a peer may send. A zero field means its default; there is
// no unlimited.
type Limits struct {
	// FrameBytes bounds a whole frame, prefix included. Default 4 MiB.
	FrameBytes int
	// MetadataBytes bounds the metadata block. Default 64 KiB.
	MetadataBytes int
	// MetadataEntries bounds the number of entries. Default 128.
	MetadataEntries int
	// NameBytes bounds path and method, each. Default 1 KiB.
	NameBytes int
	// DecompressedBytes bounds a payload once decompressed. Default 16 MiB.
	DecompressedBytes int
}

// discardFactor bounds what is read and thrown away for an oversized frame, in
// multiples of FrameBytes, so that the connection survives an honest mistake.
const discardFactor = 4

// WithDefaults returns l with its zero and negative fields replaced.
func (l Limits) WithDefaults() Limits {
	def := func(v *int, d int) {
		if *v <= 0 {
			*v = d
		}
	}
	def(&l.FrameBytes, 4<<20)
	def(&l.MetadataBytes, 64<<10)
	def(&l.MetadataEntries, 128)
	def(&l.NameBytes, 1<<10)
	def(&l.DecompressedBytes, 16<<20)
	return l
}

// CheckSize says whether a frame of that length, as ParsePrefix gave it, may be
// read: nil, or a *LimitError. Oversized frames of at most 4 times the limit are
// Discardable: their bytes can be thrown away and the connection kept.
// l must have its defaults.
func (l Limits) CheckSize(size uint64) error {
	if size <= uint64(l.FrameBytes) {
		return nil
	}
	return &LimitError{
		What: "frame", Limit: uint64(l.FrameBytes), Claim: size,
		Discardable: size <= discardFactor*uint64(l.FrameBytes),
	}
}

// Check says whether the parts of a parsed frame keep within the limits.
// l must have its defaults.
func (l Limits) Check(f Frame) error {
	over := func(what string, have, limit int) error {
		if have <= limit {
			return nil
		}
		return &LimitError{What: what, Limit: uint64(limit), Claim: uint64(have), Discardable: true}
	}
	if err := over("path", len(f.Path), l.NameBytes); err != nil {
		return err
	}
	if err := over("method", len(f.Method), l.NameBytes); err != nil {
		return err
	}
	if err := over("metadata", len(f.Meta), l.MetadataBytes); err != nil {
		return err
	}
	if len(f.Meta) == 0 {
		return nil
	}
	return over("metadata entries", f.Meta.Entries(), l.MetadataEntries)
}

// MalformedError is a frame that cannot be right; its connection ends.
type MalformedError struct {
	// Field is the part of the frame whose length or value is wrong.
	Field string
	// Claim is what the frame says, Have what there is or should be.
	Claim, Have uint64
}

// Error names the field, the claim and what there is.
func (e *MalformedError) Error() string {
	switch e.Field {
	case "magic":
		return fmt.Sprintf("malformed frame: first byte is 0x%02x, not 0x%02x: the peer does not speak rpcx's protocol", e.Claim, e.Have)
	case "total":
		return fmt.Sprintf("malformed frame: total is %d, need %d", e.Claim, e.Have)
	default:
		return fmt.Sprintf("malformed frame: %s claims %d bytes, the frame has %d", e.Field, e.Claim, e.Have)
	}
}

// LimitError is a frame that is too large for this side's limits.
type LimitError struct {
	// What names the limit.
	What string
	// Limit is its value, Claim what the frame says.
	Limit, Claim uint64
	// Discardable frames need not end the connection.
	Discardable bool
}

// Error names the limit, its value and the claim.
func (e *LimitError) Error() string {
	unit := " bytes"
	if e.What == "metadata entries" {
		unit = ""
	}
	return fmt.Sprintf("%s of %d%s exceeds the limit of %d", e.What, e.Claim, unit, e.Limit)
}
