// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

// Package manifest reads folders of manifests: for the standalone control plane, which follows them, and for lint.
//
// It reads RPCService, RPCCallPolicy and RPCLimitPolicy of rpc.fairlead.dev/v1alpha1, Service of v1 and EndpointSlice of
// discovery.k8s.io/v1, from every *.yaml, *.yml and *.json file in a folder and below it, with any number of documents in
// a file, and Lists of them. Our own kinds are judged as the API server judges them on create with strict field
// validation, by the API server's own code and the CustomResourceDefinitions that are generated for it: unknown fields,
// keys that stand twice, the schema, lists that are sets or maps, CEL rules with the server's budgets. Service and
// EndpointSlice are decoded as strictly, and checked in what matters to us; checkService and checkEndpointSlice say what
// they leave to the server.
//
// It does not compile: internal/compile does, and Lint asks it what resolves to nothing. It reads no other kind: a folder
// that holds one is refused at that document, by lint and by the control plane alike, rather than half understood. It
// reads no hidden files, follows no links to folders, and renders no templates. It is stricter than the server where
// people would be surprised otherwise: one object must not be in two files or twice in one, a name must be given, and a
// port of an EndpointSlice must not be 0. It only warns of loopback addresses in an EndpointSlice, which the server
// refuses, since on one machine they are useful. And it lets a key stand beside a merge key (<<) that brings it, too: the
// server takes that from kubectl, which sends JSON, and refuses it as YAML.
//
// # Main flow
//
//	readPath (bytes of all files) -> tracker.observe (what changed, and has settled)
//	    -> parseFile: cut -> parse (nodes, for lines) + decode (values, as the server has them) -> inspect
//	        -> judge: definition (prune, schema, lists, CEL) or misfits and checks -> explain -> finding with its line
//	    -> tracker.accept: resolve (who has which object) -> stamp (uid, generation, resourceVersion) -> Set
//
// Values and positions come from two parsers. The values come from the very converter that the server uses, since its
// YAML is 1.1 and its details (yes is true, 1.0 is 1) decide what is stored; that converter knows no lines. The positions
// come from a parser that keeps nodes. Where the two disagree about what is YAML, the document is refused.
//
// # Concurrency
//
// Load and Lint may be called from any goroutine. Watch blocks, starts no goroutine that outlives it, and calls back on
// the goroutine that called it. A Set and all its objects are immutable and may be shared.
//
// # Invariants
//
//  1. A file is taken whole or not at all. What is not taken leaves the last good objects of that file in place.
//  2. No object is in a Set twice.
//  3. An error has the line of the field that is wrong, or of what a missing field is missing from.
//  4. After the first reading a change is believed only if two readings in a row agree on it, so that a file which is
//     being written is not read half.
//  5. Revision rises with every change of a Set, and an object's resourceVersion is the Revision of its last change.
//  6. Work and memory are bounded by the size of the files: by MaxFileBytes, MaxFiles, a bound on what aliases may expand
//     to and one on the findings of a file.
//
// # Errors
//
// What is wrong with a file is a Finding and never an error. An error is about the path that was given.
//
// # Units and zero values
//
// Lines and columns count from 1; 0 means the file as a whole. The zero Options are its defaults. The zero Set is empty.
package manifest
