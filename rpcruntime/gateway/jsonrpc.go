// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/fairlead/fairlead/rpcruntime/status"
)

// rpcCall is one call of a JSON-RPC request, with what can be said of it before
// it is made. Its slices point into the request.
type rpcCall struct {
	id           []byte // as it came; nil for a notification
	path, method string
	arg          []byte // the argument's JSON; nil for none
	wrong        *rpcError
}

// silent reports whether the call gets no answer, whatever becomes of it.
func (c *rpcCall) silent() bool {
	return c.id == nil && (c.wrong == nil || c.wrong.code != rpcInvalidRequest)
}

// rpcError is the error of a JSON-RPC answer.
type rpcError struct {
	code       int
	err        *status.Error
	unexecuted bool
}

func rpcRefuse(code int, format string, args ...any) *rpcError {
	return &rpcError{code: code, err: status.Errorf(status.InvalidArgument, format, args...), unexecuted: true}
}

// maxID bounds an id, which is repeated in the answer. Bytes.
const maxID = 1 << 10

// parseRPC reads the body of a JSON-RPC request: one call, or a batch of at most
// maxBatch.
func parseRPC(body []byte, maxBatch int) (calls []rpcCall, batch bool, wrong *rpcError) {
	switch {
	case !utf8.Valid(body):
		return nil, false, rpcRefuse(rpcParseError, "the request is not UTF-8")
	case checkDepth(body) != nil:
		return nil, false, rpcRefuse(rpcParseError, "the request nests deeper than %d levels", maxDepth)
	case !json.Valid(body):
		return nil, false, rpcRefuse(rpcParseError, "the request is not JSON")
	}
	body = trimSpace(body)
	if body[0] != '[' {
		return []rpcCall{parseCall(body)}, false, nil
	}
	for element := range elements(body) {
		if len(calls) == maxBatch {
			return nil, true, rpcRefuse(rpcInvalidRequest, "the batch has more than %d calls, the most that the gateway takes", maxBatch)
		}
		calls = append(calls, parseCall(element))
	}
	if len(calls) == 0 {
		return nil, true, rpcRefuse(rpcInvalidRequest, "the batch is empty")
	}
	return calls, true, nil
}

// The members of a request; others are ignored.
const (
	memberVersion = iota
	memberMethod
	memberParams
	memberID
	members
)

var memberNames = [members]string{memberVersion: "jsonrpc", memberMethod: "method", memberParams: "params", memberID: "id"}

// parseCall reads one call, which is valid JSON.
func parseCall(b []byte) rpcCall {
	if b[0] != '{' {
		return rpcCall{wrong: rpcRefuse(rpcInvalidRequest, "a request must be an object")}
	}
	found, wrong := findMembers(b)
	call := rpcCall{wrong: wrong}
	if id := found[memberID]; id != nil {
		if wrong := checkID(id); wrong != nil {
			return rpcCall{wrong: wrong}
		}
		call.id = id
	}
	if call.wrong != nil {
		return call
	}
	version, _ := jsonString(found[memberVersion])
	method, isString := jsonString(found[memberMethod])
	switch {
	case version != "2.0":
		call.wrong = rpcRefuse(rpcInvalidRequest, `the member "jsonrpc" must be "2.0"`)
	case !isString:
		call.wrong = rpcRefuse(rpcInvalidRequest, `the member "method" must be a string, such as "Arith.Mul"`)
	default:
		if call.arg, call.wrong = argument(found[memberParams]); call.wrong == nil {
			call.path, call.method, call.wrong = splitMethod(method)
		}
	}
	return call
}

// findMembers finds the members that mean something. One that stands twice is
// wrong: another reader may take the other.
func findMembers(object []byte) (found [members][]byte, wrong *rpcError) {
	var key []byte
	for element := range elements(object) {
		if key == nil {
			key = element
			continue
		}
		name, _ := jsonString(key)
		key = nil
		for i, known := range memberNames {
			if name != known {
				continue
			}
			if found[i] != nil {
				found[memberID] = nil // whichever it was
				return found, rpcRefuse(rpcInvalidRequest, "the member %q stands twice", name)
			}
			found[i] = element
		}
	}
	return found, nil
}

func checkID(id []byte) *rpcError {
	switch {
	case bytes.IndexByte([]byte(`{[tf`), id[0]) >= 0:
		return rpcRefuse(rpcInvalidRequest, `the member "id" must be a string, a number or null`)
	case len(id) > maxID:
		return rpcRefuse(rpcInvalidRequest, `the member "id" has %d bytes: %d are the most`, len(id), maxID)
	}
	return nil
}

// argument finds the one argument that methods take: params that are an object,
// or the only element of an array. Without either there is none.
func argument(params []byte) ([]byte, *rpcError) {
	if params == nil || params[0] == 'n' {
		return nil, nil
	}
	switch params[0] {
	case '{':
		return params, nil
	case '[':
		var arg []byte
		n := 0
		for element := range elements(params) {
			if n++; n > 1 {
				return nil, rpcRefuse(rpcInvalidParams, "params has more than one element: a method takes one argument, as [argument] or as an object")
			}
			arg = element
		}
		return arg, nil
	default:
		return nil, rpcRefuse(rpcInvalidRequest, "params must be an object or an array: write a lone value as [value]")
	}
}

// splitMethod splits Path.Method at the last dot.
func splitMethod(name string) (path, method string, wrong *rpcError) {
	i := strings.LastIndexByte(name, '.')
	if i <= 0 || i == len(name)-1 {
		return "", "", noSuchMethod(fmt.Sprintf("the method %s is not of the form Path.Method, such as Arith.Mul", quoted(name)))
	}
	path, method = name[:i], name[i+1:]
	if r := checkNames(path, method); r != nil {
		return "", "", noSuchMethod(r.err.Message())
	}
	return path, method, nil
}

func noSuchMethod(msg string) *rpcError {
	return &rpcError{code: rpcNoSuchMethod, err: status.New(status.Unimplemented, msg), unexecuted: true}
}

// jsonString returns the string that b, valid JSON or nothing, is.
func jsonString(b []byte) (s string, ok bool) {
	if len(b) == 0 || b[0] != '"' {
		return "", false
	}
	err := json.Unmarshal(b, &s)
	return s, err == nil
}
