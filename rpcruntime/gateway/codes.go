// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"net/http"

	"github.com/fairlead/fairlead/rpcruntime/status"
)

// statusClientClosed says that the caller gave up. It has no name in net/http.
const statusClientClosed = 499

// httpStatuses are the HTTP statuses of the codes, by number. docs/gateway.md
var httpStatuses = [...]int{
	status.OK:                 http.StatusOK,
	status.Canceled:           statusClientClosed,
	status.Unknown:            http.StatusInternalServerError,
	status.InvalidArgument:    http.StatusBadRequest,
	status.DeadlineExceeded:   http.StatusGatewayTimeout,
	status.NotFound:           http.StatusNotFound,
	status.AlreadyExists:      http.StatusConflict,
	status.PermissionDenied:   http.StatusForbidden,
	status.ResourceExhausted:  http.StatusTooManyRequests,
	status.FailedPrecondition: http.StatusBadRequest,
	status.Aborted:            http.StatusConflict,
	status.OutOfRange:         http.StatusBadRequest,
	status.Unimplemented:      http.StatusNotImplemented,
	status.Internal:           http.StatusInternalServerError,
	status.Unavailable:        http.StatusServiceUnavailable,
	status.DataLoss:           http.StatusInternalServerError,
	status.Unauthenticated:    http.StatusUnauthorized,
}

// HTTPStatus returns the HTTP status that the gateway answers with for a code:
// 200 for OK, 500 for a code outside of the set.
func HTTPStatus(c status.Code) int {
	if !c.Valid() {
		return http.StatusInternalServerError
	}
	return httpStatuses[c]
}

// The error codes that JSON-RPC 2.0 defines.
const (
	rpcParseError     = -32700
	rpcInvalidRequest = -32600
	rpcNoSuchMethod   = -32601
	rpcInvalidParams  = -32602
	rpcInternalError  = -32603

	// rpcServerError is the first of those that it leaves to servers; they count
	// downwards to -32099.
	rpcServerError = -32000
)

// JSONRPCCode returns the JSON-RPC error code of a code: those that JSON-RPC
// defines for InvalidArgument and Internal, else -32000 less the code's number.
// A method that does not exist is -32601 apart from that. It returns 0 for OK.
func JSONRPCCode(c status.Code) int {
	switch {
	case c == status.OK:
		return 0
	case c == status.InvalidArgument:
		return rpcInvalidParams
	case c == status.Internal:
		return rpcInternalError
	case !c.Valid():
		c = status.Unknown
	}
	return rpcServerError - int(c)
}
