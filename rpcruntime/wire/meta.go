// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package wire

import "iter"

// Reserved metadata keys. docs/wire-protocol.md §5
const (
	// KeyError carries the error text of a response whose status is error.
	KeyError = "__rpcx_error__"
	// KeyServerTimeout carries what remains of the attempt, in milliseconds.
	KeyServerTimeout = "__ServerTimeout"
	// KeyAuth carries rpcx's token.
	KeyAuth = "__AUTH"
	// KeyAnnounce carries the announcement, on a connection's first request.
	KeyAnnounce = "__fl"
	// KeyCode carries the status code of an error response, decimal.
	KeyCode = "__fl_code"
	// KeyRetry carries what is known about the execution of a failed call.
	KeyRetry = "__fl_retry"
	// KeyAttempt carries the attempt number, from the second on.
	KeyAttempt = "__fl_attempt"
	// KeyDetails carries encoded error details.
	KeyDetails = "__fl_details"

	// ReservedPrefix is the prefix of keys and of no user's key.
	ReservedPrefix = "__"
	// HopPrefix is the prefix of keys that end at the next hop.
	HopPrefix = "__fl"
	// ControlPath is the service path of control frames, and the prefix of
	// paths that no service may have.
	ControlPath = "__fl"
)

// Meta is a metadata block as it stands on the wire: repeated length, key,
// length, value. A Meta of a parsed Frame is well-formed.
type Meta []byte

// check reports whether the block is made of whole entries.
func (m Meta) check() error {
	for rest := []byte(m); len(rest) > 0; {
		var err error
		if _, rest, err = section("metadata key", rest); err != nil {
			return err
		}
		if _, rest, err = section("metadata value", rest); err != nil {
			return err
		}
	}
	return nil
}

// All yields the entries in the order of the wire, duplicates included. The
// slices point into the frame. It ends early at a malformed entry.
func (m Meta) All() iter.Seq2[[]byte, []byte] {
	return func(yield func(k, v []byte) bool) {
		for rest := []byte(m); len(rest) > 0; {
			k, r, err := section("metadata key", rest)
			if err != nil {
				return
			}
			v, r, err := section("metadata value", r)
			if err != nil || !yield(k, v) {
				return
			}
			rest = r
		}
	}
}

// Get returns the value of a key: of duplicates the last, as rpcx has it.
func (m Meta) Get(key string) (value []byte, found bool) {
	for k, v := range m.All() {
		if string(k) == key {
			value, found = v, true
		}
	}
	return value, found
}

// Entries counts the entries, duplicates included.
func (m Meta) Entries() int {
	n := 0
	for range m.All() {
		n++
	}
	return n
}
