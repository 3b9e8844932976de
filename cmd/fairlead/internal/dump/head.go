// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package dump

import (
	"encoding/binary"
	"strings"

	"github.com/fairlead/fairlead/rpcruntime/wire"
)

// head is what is known of a frame, of which perhaps only the beginning was kept.
type head struct {
	wire.Header
	// size is the length of the whole frame as its total has it.
	size uint64
	// Each part holds what was kept of it.
	path, method, meta, payload part
	// missing names the first part whose length was not kept; "" if all were.
	missing string
}

// part is a field of a frame.
type part struct {
	// kept is at most size bytes long.
	kept []byte
	size uint64
}

func (p part) whole() bool { return uint64(len(p.kept)) == p.size }

// names are path and method, with dots for what was not kept of them.
func (f *head) names() (path, method string) {
	path, method = f.path.text(), f.method.text()
	if f.missing == "path" {
		path = cut
	}
	if f.missing == "path" || f.missing == "method" {
		method = cut
	}
	return path, method
}

// cut stands where text was left out.
const cut = "..."

func (p part) text() string {
	text := clipped(string(p.kept), maxName)
	if p.whole() || strings.HasSuffix(text, cut) {
		return text
	}
	return text + cut
}

// malformed is a frame that cannot be right, with the place of what is wrong.
type malformed struct {
	*wire.MalformedError
	// offset counts from the start of the frame.
	offset uint64
}

// parseHead reads the parts of a frame of size bytes, of which kept are the
// first: its prefix at least, which has been parsed. What wire.Parse finds wrong
// in a whole frame is found here in what was kept of it.
//
// It is not wire.Parse because that wants all of a frame, which may be larger
// than what a tool should hold. The fuzz test holds the two together.
func parseHead(h wire.Header, kept []byte, size uint64) (head, *malformed) {
	f := head{Header: h, size: size}
	parts := [...]struct {
		name string
		to   *part
	}{{"path", &f.path}, {"method", &f.method}, {"metadata", &f.meta}, {"payload", &f.payload}}
	at := uint64(wire.PrefixLen)
	for _, p := range parts {
		wrong := func(claim, have uint64) *malformed {
			return &malformed{&wire.MalformedError{Field: p.name, Claim: claim, Have: have}, at}
		}
		if size-at < 4 {
			return f, wrong(4, size-at)
		}
		if uint64(len(kept)) < at+4 {
			f.missing = p.name
			return f, nil
		}
		p.to.size = uint64(binary.BigEndian.Uint32(kept[at:]))
		if p.to.size > size-at-4 {
			return f, wrong(p.to.size, size-at-4)
		}
		end := at + 4 + p.to.size
		p.to.kept = kept[min(at+4, uint64(len(kept))):min(end, uint64(len(kept)))]
		if p.to == &f.payload && end != size {
			return f, wrong(p.to.size, p.to.size+size-end)
		}
		at = end
	}
	start := size - f.payload.size - 4 - f.meta.size
	return f, checkEntries(f.meta, start)
}

// checkEntries checks as much of a metadata block as was kept. start is its
// place in the frame.
func checkEntries(meta part, start uint64) *malformed {
	rest, left, field := meta.kept, meta.size, "metadata key"
	for left > 0 {
		at := start + meta.size - left
		if left < 4 {
			return &malformed{&wire.MalformedError{Field: field, Claim: 4, Have: left}, at}
		}
		if len(rest) < 4 {
			return nil
		}
		n := uint64(binary.BigEndian.Uint32(rest))
		if n > left-4 {
			return &malformed{&wire.MalformedError{Field: field, Claim: n, Have: left - 4}, at}
		}
		rest, left = rest[min(4+n, uint64(len(rest))):], left-4-n
		if field == "metadata key" {
			field = "metadata value"
			if left == 0 {
				return &malformed{&wire.MalformedError{Field: field, Claim: 4, Have: 0}, start + meta.size}
			}
		} else {
			field = "metadata key"
		}
	}
	return nil
}

const (
	// believable is the largest frame that a scanner waits for the end of.
	believable = 1 << 30
	// Within these, a place is taken for the start of a frame when searching.
	plausibleName = 1 << 10
	plausibleMeta = 64 << 10
	// searchWindow is the most that must be seen to judge one place.
	searchWindow = wire.PrefixLen + wire.MinTotal + 2*plausibleName + plausibleMeta
)

type verdict uint8

const (
	no verdict = iota
	yes
	more // bytes are needed
)

// plausible says whether a frame starts at b. All that can be checked must be
// right: among arbitrary bytes, a first byte of 0x08 is common.
func plausible(b []byte) verdict {
	if b[0] != wire.Magic || len(b) > 1 && b[1] != 0 || len(b) > 3 && b[3]&0x0f != 0 {
		return no
	}
	if len(b) < wire.PrefixLen {
		return more
	}
	h, size, err := wire.ParsePrefix(b)
	if err != nil || size > believable {
		return no
	}
	f, bad := parseHead(h, b, size)
	switch {
	case bad != nil, f.path.size > plausibleName, f.method.size > plausibleName, f.meta.size > plausibleMeta:
		return no
	case !printable(f.path.kept) && f.path.whole(), !printable(f.method.kept) && f.method.whole():
		return no
	case f.missing != "":
		return more
	default:
		return yes
	}
}
