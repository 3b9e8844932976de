// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"bytes"
	"slices"
)

// Features. docs/wire-protocol.md §7
const (
	// FeatureDrain: drain and bye.
	FeatureDrain = "drain"
	// FeatureCancel: cancel.
	FeatureCancel = "cancel"
	// FeatureWindow: window.
	FeatureWindow = "window"
	// FeatureLoad: load.
	FeatureLoad = "load"
)

const (
	// MaxAnnouncement bounds the text of an announcement and of a hello. It
	// holds the longest names that Kubernetes allows.
	MaxAnnouncement = 2048
	// MaxFeatures bounds the features of one side.
	MaxFeatures = 16

	// announceVersion grows only when old readers must not understand.
	announceVersion = "1;"
	seqDigits       = 16
)

// Announcement is what the caller says of itself on the first request of a
// connection, under KeyAnnounce. docs/wire-protocol.md §7
//
// It counts only if Seq is the seq of the frame that carries it, and the frame
// is an ordinary request: metadata travels further than it was meant to.
type Announcement struct {
	// Seq repeats the seq of the frame.
	Seq uint64
	// Features are words for what the caller understands.
	Features []string
	// Caller is the calling workload, NAMESPACE/NAME; empty if not known.
	Caller string
	// To is the service that the caller means to call, NAMESPACE/NAME.
	To string
	// UID is that of the Pod that the caller means to call.
	UID string
}

// Hello is the callee's answer to an announcement.
type Hello struct {
	// Seq repeats the announcement's.
	Seq uint64
	// Features are words for what the callee understands.
	Features []string
}

// AppendAnnouncement appends the text of a. An empty field is left out, and so
// is one that the text cannot hold: of more than printable ASCII, with a
// semicolon, or too long.
func AppendAnnouncement(dst []byte, a Announcement) []byte {
	start := len(dst)
	dst = append(dst, announceVersion...)
	dst = appendFeatures(append(appendSeq(dst, a.Seq), ';'), a.Features)
	for _, field := range [...]struct{ key, value string }{{"caller", a.Caller}, {"to", a.To}, {"uid", a.UID}} {
		grown := len(dst) - start + len(";=") + len(field.key) + len(field.value)
		if grown > MaxAnnouncement || !isWord(field.value, ";") {
			continue
		}
		dst = append(append(dst, ';'), field.key...)
		dst = append(append(dst, '='), field.value...)
	}
	return dst
}

// ParseAnnouncement reads the text of an announcement. Unknown fields are
// ignored. It fails on another version, on text that is too long, and on a
// field that is wrong or stands twice; then the peer has announced nothing.
// The result does not point into value.
func ParseAnnouncement(value []byte) (a Announcement, ok bool) {
	if len(value) > MaxAnnouncement {
		return Announcement{}, false
	}
	rest, ok := bytes.CutPrefix(value, []byte(announceVersion))
	if !ok {
		return Announcement{}, false
	}
	head, rest, more := cutHello(rest)
	h, ok := ParseHello(head)
	if !ok {
		return Announcement{}, false
	}
	a.Seq, a.Features = h.Seq, h.Features
	for more {
		var field []byte
		field, rest, more = bytes.Cut(rest, []byte{';'})
		if !a.set(field) {
			return Announcement{}, false
		}
	}
	return a, true
}

// set reads one KEY=VALUE into the field of a that it names.
func (a *Announcement) set(field []byte) bool {
	key, value, _ := bytes.Cut(field, []byte{'='})
	var to *string
	switch string(key) {
	case "caller":
		to = &a.Caller
	case "to":
		to = &a.To
	case "uid":
		to = &a.UID
	default:
		return true
	}
	if *to != "" {
		return false
	}
	*to = string(value)
	return isWord(*to, ";")
}

// AppendHello appends the payload of a hello.
func AppendHello(dst []byte, h Hello) []byte {
	return appendFeatures(append(appendSeq(dst, h.Seq), ';'), h.Features)
}

// ParseHello reads the payload of a hello. What follows the features is for
// later versions to say. The result does not point into payload.
func ParseHello(payload []byte) (h Hello, ok bool) {
	payload, _, _ = cutHello(payload)
	if len(payload) > MaxAnnouncement {
		return Hello{}, false
	}
	digits, list, ok := bytes.Cut(payload, []byte{';'})
	if !ok {
		return Hello{}, false
	}
	if h.Seq, ok = parseSeq(digits); !ok {
		return Hello{}, false
	}
	for more := len(list) > 0; more; {
		var word []byte
		word, list, more = bytes.Cut(list, []byte{','})
		if len(h.Features) == MaxFeatures || !isWord(string(word), ",;") {
			return Hello{}, false
		}
		h.Features = append(h.Features, string(word))
	}
	return h, true
}

// cutHello splits b at its second semicolon: seq and features, and the rest.
func cutHello(b []byte) (head, rest []byte, found bool) {
	first := bytes.IndexByte(b, ';') + 1
	second := bytes.IndexByte(b[first:], ';')
	if first == 0 || second < 0 {
		return b, nil, false
	}
	return b[:first+second], b[first+second+1:], true
}

// Has reports whether the features of a peer have name among them.
func Has(features []string, name string) bool { return slices.Contains(features, name) }

func appendSeq(dst []byte, seq uint64) []byte {
	for shift := 4 * (seqDigits - 1); shift >= 0; shift -= 4 {
		dst = append(dst, "0123456789abcdef"[seq>>shift&0xf])
	}
	return dst
}

// parseSeq reads 1 to 16 lower-case hexadecimal digits.
func parseSeq(digits []byte) (seq uint64, ok bool) {
	if len(digits) == 0 || len(digits) > seqDigits {
		return 0, false
	}
	for _, d := range digits {
		switch {
		case d >= '0' && d <= '9':
			d -= '0'
		case d >= 'a' && d <= 'f':
			d -= 'a' - 10
		default:
			return 0, false
		}
		seq = seq<<4 | uint64(d)
	}
	return seq, true
}

func appendFeatures(dst []byte, features []string) []byte {
	for i, word := range features {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(dst, word...)
	}
	return dst
}

// isWord reports whether s can stand in the text of an announcement: not empty,
// printable ASCII without space, and nothing that separates.
func isWord(s, separators string) bool {
	for i := range len(s) {
		if s[i] <= ' ' || s[i] > '~' {
			return false
		}
		for j := range len(separators) {
			if s[i] == separators[j] {
				return false
			}
		}
	}
	return s != ""
}
