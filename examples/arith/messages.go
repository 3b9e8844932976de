// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package arith

import (
	"google.golang.org/protobuf/proto"

	"github.com/fairlead/fairlead/examples/arith/arithpb"
)

// Args is what every arithmetic method takes.
type Args struct{ A, B int }

// Marshal encodes a as the Protobuf message of that name.
func (a *Args) Marshal() ([]byte, error) {
	return proto.Marshal(&arithpb.Args{A: int64(a.A), B: int64(a.B)})
}

// Unmarshal reads the Protobuf message of that name.
func (a *Args) Unmarshal(data []byte) error {
	var m arithpb.Args
	err := proto.Unmarshal(data, &m)
	a.A, a.B = int(m.GetA()), int(m.GetB())
	return err
}

// Reply is what it answers.
type Reply struct{ C int }

// Marshal encodes r as the Protobuf message of that name.
func (r *Reply) Marshal() ([]byte, error) {
	return proto.Marshal(&arithpb.Reply{C: int64(r.C)})
}

// Unmarshal reads the Protobuf message of that name.
func (r *Reply) Unmarshal(data []byte) error {
	var m arithpb.Reply
	err := proto.Unmarshal(data, &m)
	r.C = int(m.GetC())
	return err
}
