// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package dump

import "io"

// Options say what is printed, and where.
type Options struct {
	// Out gets a line for each frame.
	Out io.Writer
	// Log gets what is not of one connection: the address of a proxy, a summary
	// at the end.
	Log io.Writer
	// Verbose adds metadata and payloads.
	Verbose bool
	// JSON writes an object for each frame instead of a line of text.
	JSON bool
	// MaxPayload bounds what is shown of a payload, in bytes; 0 means
	// DefaultMaxPayload, and more than LargestPayload that.
	MaxPayload int
	// Live passes each line on at once: somebody captures while we decode.
	// Of files only.
	Live bool
	// Ports, if there are any, are the only TCP ports looked at. Of files only.
	Ports []uint16
}

const (
	// DefaultMaxPayload is how much of a payload is shown, in bytes.
	DefaultMaxPayload = 1024
	// LargestPayload is the most that can be, which keeps it within what is kept
	// of a frame.
	LargestPayload = 128 << 10
)

const (
	// keepBytes is how much of one frame is kept to be described; of what is
	// longer, the rest of the payload is only counted. Bytes.
	keepBytes = 256 << 10
	// heldBytes is what all connections together may hold back: segments that
	// came early, frames that are not complete, requests without an answer.
	heldBytes = 256 << 20
)

func (o *Options) maxPayload() int {
	if o.MaxPayload <= 0 {
		return DefaultMaxPayload
	}
	return min(o.MaxPayload, LargestPayload)
}

// budget is the memory that may still be held back. It belongs to the decoder.
type budget struct{ left int }

// take reports whether n more bytes may be held, and counts them if so.
func (b *budget) take(n int) bool {
	if n > b.left {
		return false
	}
	b.left -= n
	return true
}

// force counts n bytes that cannot be done without; they are few.
func (b *budget) force(n int) { b.left -= n }

func (b *budget) give(n int) { b.left += n }
