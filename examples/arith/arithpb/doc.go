// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

// Package arithpb has the Protobuf messages of the Arith example, generated
// from arith.proto.
package arithpb
