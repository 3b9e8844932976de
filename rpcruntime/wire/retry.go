// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"bytes"
	"strconv"
	"time"
)

// RetryWord is what the callee knows about the execution of a failed call.
type RetryWord uint8

const (
	// RetryUnknown: the call may have run, or may still.
	RetryUnknown RetryWord = iota
	// RetryUnexecuted: no handler and no interceptor saw the call.
	RetryUnexecuted
	// RetryNever: the call ran, and nobody above shall send it again.
	RetryNever
	// RetryExecuted: the call ran. It is what an error response without KeyRetry
	// says, so it is written only where there are parameters.
	RetryExecuted
)

var retryWords = [...]string{"unknown", "unexecuted", "never", "executed"}

// String returns the word as it stands on the wire.
func (w RetryWord) String() string {
	if int(w) < len(retryWords) {
		return retryWords[w]
	}
	return retryWords[RetryUnknown]
}

// Reasons of an unexecuted call.
const (
	// ReasonWrongEndpoint: the connection was meant for another service or Pod.
	ReasonWrongEndpoint = "wrong-endpoint"
	// ReasonDraining: the callee is about to go. This version does not send it,
	// for it says drain and bye; it is understood from others.
	ReasonDraining = "draining"
	// ReasonLimit: a limit of the callee refused the call.
	ReasonLimit = "limit"
)

// Retry is the value of KeyRetry. docs/wire-protocol.md §9
type Retry struct {
	// Word says what is known about the execution.
	Word RetryWord
	// After is the delay before a retry makes sense; 0 advises none.
	After time.Duration
	// Reason is a machine-readable cause, a word; empty for most.
	Reason string
}

const (
	afterKey  = "after="
	reasonKey = "reason="
	// maxAfterDigits keeps a delay below 12 days, and its sum from overflowing.
	maxAfterDigits = 9
	maxAfterMillis = 999_999_999
	maxReason      = 64
)

// AppendRetry appends the text of r: its delay in whole milliseconds, rounded
// up. A reason that is not one word of at most 64 bytes is left out.
func AppendRetry(dst []byte, r Retry) []byte {
	dst = append(dst, r.Word.String()...)
	if r.After > 0 {
		millis := int64(r.After / time.Millisecond)
		if r.After%time.Millisecond > 0 {
			millis++
		}
		dst = append(append(dst, ';'), afterKey...)
		dst = strconv.AppendInt(dst, min(millis, maxAfterMillis), 10)
	}
	if len(r.Reason) <= maxReason && isWord(r.Reason, ";") {
		dst = append(append(dst, ';'), reasonKey...)
		dst = append(dst, r.Reason...)
	}
	return dst
}

// ParseRetry reads the value of KeyRetry. It takes what it understands: an
// unknown word reads as RetryUnknown, an unknown or wrong parameter as none.
func ParseRetry(value []byte) Retry {
	var r Retry
	word, rest, more := bytes.Cut(value, []byte{';'})
	for i, w := range retryWords {
		if string(word) == w {
			r.Word = RetryWord(i)
		}
	}
	for more {
		var param []byte
		param, rest, more = bytes.Cut(rest, []byte{';'})
		if digits, ok := bytes.CutPrefix(param, []byte(afterKey)); ok {
			r.After = parseAfter(digits)
		} else if reason, ok := bytes.CutPrefix(param, []byte(reasonKey)); ok && len(reason) <= maxReason && isWord(string(reason), ";") {
			r.Reason = string(reason)
		}
	}
	return r
}

func parseAfter(digits []byte) time.Duration {
	if len(digits) > maxAfterDigits {
		return 0
	}
	var millis int64
	for _, d := range digits {
		if d < '0' || d > '9' {
			return 0
		}
		millis = millis*10 + int64(d-'0')
	}
	return time.Duration(millis) * time.Millisecond
}
