// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"errors"
	"io"
	"net/http"
	"os"
	"strings"
	"sync/atomic"

	"github.com/fairlead/fairlead/rpcruntime/status"
)

// budget bounds the bytes of all bodies that are held at one time.
type budget struct {
	limit int64
	// Invariant: 0 <= used <= limit, but for an instant.
	used atomic.Int64
}

func (b *budget) take(n int64) bool {
	if b.used.Add(n) > b.limit {
		b.used.Add(-n)
		return false
	}
	return true
}

// body is the body of a request, whose memory counts for a budget.
type body struct {
	bytes []byte
	taken int64
	from  *budget
}

// free gives the memory back. The bytes must not be used any more.
func (b *body) free() {
	b.from.used.Add(-b.taken)
	b.bytes, b.taken = nil, 0
}

// firstRead is the memory that a body gets before anything of it has come. Bytes.
const firstRead = 4 << 10

// readBody reads the body of r, at most limit bytes. Memory grows as bytes come,
// whatever the length that was claimed.
func readBody(w http.ResponseWriter, r *http.Request, limit int64, from *budget) (*body, *refusal) {
	b := &body{from: from}
	if e := r.Header.Values("Content-Encoding"); len(e) > 0 && !strings.EqualFold(strings.Join(e, ","), "identity") {
		return b, refuse(http.StatusUnsupportedMediaType, status.Unimplemented,
			"content encoding %s is not supported: send the body as it is, or compress the payload and set %s", quoted(strings.Join(e, ",")), headerCompress)
	}
	if r.ContentLength > limit {
		return b, tooLarge(limit)
	}
	src := http.MaxBytesReader(w, r.Body, limit)
	for {
		if len(b.bytes) == cap(b.bytes) && !b.grow(r.ContentLength, limit) {
			b.free()
			return b, refuse(http.StatusTooManyRequests, status.ResourceExhausted, "the bodies of the requests being served take %d bytes, the most that the gateway holds", from.limit)
		}
		n, err := src.Read(b.bytes[len(b.bytes):cap(b.bytes)])
		b.bytes = b.bytes[:len(b.bytes)+n]
		if errors.Is(err, io.EOF) {
			return b, nil
		}
		if err != nil {
			b.free()
			return b, readFailure(err, limit)
		}
	}
}

// grow makes room for more, twice of what there is: for the whole body when that
// is near.
func (b *body) grow(claimed, limit int64) bool {
	size := max(2*int64(cap(b.bytes)), firstRead)
	most := limit + 1 // so that the end can be seen
	if claimed >= 0 {
		most = claimed + 1
	}
	size = min(size, max(most, int64(cap(b.bytes))+1))
	if !b.from.take(size - b.taken) {
		return false
	}
	b.taken = size
	b.bytes = append(make([]byte, 0, size), b.bytes...)
	return true
}

func tooLarge(limit int64) *refusal {
	return refuse(http.StatusRequestEntityTooLarge, status.ResourceExhausted, "the body has more than %d bytes, the most that the gateway takes", limit)
}

func readFailure(err error, limit int64) *refusal {
	var over *http.MaxBytesError
	switch {
	case errors.As(err, &over):
		return tooLarge(limit)
	case errors.Is(err, os.ErrDeadlineExceeded):
		return refuse(http.StatusRequestTimeout, status.DeadlineExceeded, "the body did not come in time")
	default:
		return refuse(http.StatusBadRequest, status.InvalidArgument, "the body could not be read: %w", err)
	}
}
