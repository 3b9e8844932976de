// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"encoding/json"
	"unicode/utf8"

	"github.com/fairlead/fairlead/rpcruntime"
	"github.com/fairlead/fairlead/rpcruntime/status"
)

// rpcErrorObject is the error of an answer as JSON-RPC has it.
type rpcErrorObject struct {
	Code    int          `json:"code"`
	Message string       `json:"message"`
	Data    rpcErrorData `json:"data"`
}

// rpcErrorData says of an error what JSON-RPC has no place for.
type rpcErrorData struct {
	Code        uint32 `json:"code"`
	Name        string `json:"name"`
	Retry       string `json:"retry"`
	AfterMillis int64  `json:"afterMillis,omitempty"`
	Reason      string `json:"reason,omitempty"`
}

// nullID stands where the id of a request could not be found.
const nullID = "null"

const headText = `{"jsonrpc":"2.0","id":`

// head begins an answer, with room for size more bytes.
func head(id []byte, size int) []byte {
	if id == nil {
		id = []byte(nullID)
	}
	b := make([]byte, 0, len(headText)+len(id)+size)
	return append(append(b, headText...), id...)
}

// resultAnswer is the answer of a call that succeeded with the JSON result.
func resultAnswer(id, result []byte) []byte {
	if len(result) == 0 {
		result = []byte(nullID)
	}
	b := append(head(id, len(result)+len(`,"result":}`)), `,"result":`...)
	return append(append(b, result...), '}')
}

// errorAnswer is the answer of a call that failed.
func errorAnswer(id []byte, e *rpcError) []byte {
	object, err := json.Marshal(rpcErrorObject{Code: e.code, Message: e.err.Message(), Data: rpcErrorData{
		Code: uint32(e.err.Code()), Name: e.err.Code().String(), Retry: retryWord(e.err, e.unexecuted),
		AfterMillis: retryMillis(e.err), Reason: e.err.Reason(),
	}})
	if err != nil { // strings and numbers always can be
		object = []byte(`{"code":-32603,"message":"the error could not be encoded"}`)
	}
	b := append(head(id, len(object)+len(`,"error":}`)), `,"error":`...)
	return append(append(b, object...), '}')
}

var errReplyNotJSON = status.New(status.Internal, "the reply is not JSON: methods that answer with bytes of their own are for other ways to call")

// outcome says how a call ended: with a result, or with an error.
func outcome(reply *rpcruntime.ForeignReply) (result []byte, wrong *rpcError) {
	switch e := reply.Err; {
	case e != nil && e.Code() == status.Unimplemented && reply.Unexecuted:
		return nil, &rpcError{code: rpcNoSuchMethod, err: e, unexecuted: true}
	case e != nil:
		return nil, &rpcError{code: JSONRPCCode(e.Code()), err: e, unexecuted: reply.Unexecuted}
	case len(reply.Payload) > 0 && !(utf8.Valid(reply.Payload) && json.Valid(reply.Payload)):
		return nil, &rpcError{code: rpcInternalError, err: errReplyNotJSON}
	default:
		return reply.Payload, nil
	}
}
