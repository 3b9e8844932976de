// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package status

import (
	"fmt"
	"strconv"
)

// Code says how a call ended. The numbers and names are gRPC's.
type Code uint32

// The closed set of codes.
const (
	// OK is no error. No *Error carries it.
	OK Code = 0
	// Canceled: the caller gave up.
	Canceled Code = 1
	// Unknown: the peer gave an error without a code, as every rpcx peer does.
	Unknown Code = 2
	// InvalidArgument: the argument is wrong, whatever the state of the system.
	InvalidArgument Code = 3
	// DeadlineExceeded: the deadline passed before an answer came.
	DeadlineExceeded Code = 4
	// NotFound: the thing asked for, a service included, does not exist.
	NotFound Code = 5
	// AlreadyExists: the thing to be made exists.
	AlreadyExists Code = 6
	// PermissionDenied: the caller is known and may not.
	PermissionDenied Code = 7
	// ResourceExhausted: a limit refused the call.
	ResourceExhausted Code = 8
	// FailedPrecondition: the system is not in the state that the call needs.
	FailedPrecondition Code = 9
	// Aborted: a conflict with another call; try again at a higher level.
	Aborted Code = 10
	// OutOfRange: past the end of something that may grow.
	OutOfRange Code = 11
	// Unimplemented: the server has no such method.
	Unimplemented Code = 12
	// Internal: an invariant broke, a handler panicked, bytes did not decode.
	Internal Code = 13
	// Unavailable: no endpoint could take the call, or it went down with its connection.
	Unavailable Code = 14
	// DataLoss: data is gone for good.
	DataLoss Code = 15
	// Unauthenticated: the caller is not known.
	Unauthenticated Code = 16
)

var names = [...]string{
	"OK", "Canceled", "Unknown", "InvalidArgument", "DeadlineExceeded", "NotFound", "AlreadyExists",
	"PermissionDenied", "ResourceExhausted", "FailedPrecondition", "Aborted", "OutOfRange",
	"Unimplemented", "Internal", "Unavailable", "DataLoss", "Unauthenticated",
}

// String returns the name of the code, or Code(N) for one outside the set.
func (c Code) String() string {
	if int(c) < len(names) {
		return names[c]
	}
	return "Code(" + strconv.FormatUint(uint64(c), 10) + ")"
}

// Valid reports whether c is one of the set.
func (c Code) Valid() bool { return int(c) < len(names) }

// FromNumber returns the code with that number, and Unknown for a number
// outside the set or for OK, which cannot be the code of an error.
func FromNumber(n uint64) Code {
	if n == 0 || n >= uint64(len(names)) {
		return Unknown
	}
	return Code(n)
}

// ParseCode returns the code of that name, as policies write it.
func ParseCode(name string) (Code, error) {
	for i, n := range names {
		if n == name {
			return Code(i), nil
		}
	}
	return Unknown, fmt.Errorf("code %q is none of the status codes (for example Unavailable, ResourceExhausted)", name)
}
