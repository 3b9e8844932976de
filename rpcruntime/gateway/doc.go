// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

// Package gateway lets HTTP clients call a server on the server's own port: by
// rpcx's X-RPCX-* headers, or by JSON-RPC 2.0. It is an adapter: net/http is
// linked by those who import it. docs/gateway.md describes what clients see.
//
// It does not route, balance or forward: a call goes to the handlers of the
// server that the gateway was given to, through everything that guards them. It
// does not speak HTTP/2 or WebSocket, and carries no stream and no push.
//
// Main flow: the server reads the first byte of a connection; a capital letter
// makes it the gateway's, and net/http reads requests from it. Each request is
// told apart by itself, so that both kinds may take turns on a connection
// (exchange.go). What stands in its header becomes a ForeignCall (request.go,
// pure), its body is read within its bounds (body.go), Server.Do makes the call,
// and what became of it is told by status, headers and body (codes.go,
// answer.go). The JSON of JSON-RPC is taken apart without being decoded (scan.go,
// jsonrpc.go, pure); the calls of a batch run a few at a time (batch.go).
//
// Concurrency: a gateway is safe for concurrent use. Its goroutines are
// net/http's, one for each connection, and a bounded number that help with
// batches; each ends before the answer that it works for. Shutdown waits for all
// of them.
//
// Invariants:
//  1. What a request is, and what it may do, is decided by that request alone.
//  2. A call is called unexecuted only if the gateway refused it, or the server
//     says so. An error never decides that.
//  3. No text of a caller or a handler gets into a header or into JSON as it is.
//  4. Memory for a body grows as bytes come; all bodies together are bounded.
//
// Errors: what is wrong with a request is told to its sender, by HTTP status and
// status.Code. Serve fails with wrong options and with a second server; Shutdown
// when it had to cut.
//
// Zero values: those of Options are the defaults, in bytes and time.Duration. No
// limit can be switched off.
package gateway
