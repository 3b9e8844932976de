// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package codec

import (
	"bytes"
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

func FuzzProtobufDecode(f *testing.F) {
	for _, seed := range []string{"08c801", "0affffffff0f", "0a070a016112021a00", "ff", ""} {
		f.Add(unhex(f, seed))
	}
	set := New()
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, target := range []proto.Message{new(structpb.Struct), new(structpb.Value), new(wrapperspb.BytesValue)} {
			var err error
			took := allocated(func() { err = set.Decode(TypeProtobuf, data, target) })
			if limit := uint64(256<<10 + 1000*len(data)); took > limit {
				t.Fatalf("into %T: allocated %d bytes for %d of input", target, took, len(data))
			}
			if err == nil {
				staysTheSame(t, set, TypeProtobuf, target, func(a, b any) bool {
					return proto.Equal(a.(proto.Message), b.(proto.Message))
				})
			}
		}
	})
}

func FuzzRawDecode(f *testing.F) {
	f.Add([]byte("abc"))
	f.Add([]byte{})
	set := New()
	f.Fuzz(func(t *testing.T, data []byte) {
		var got []byte
		if err := set.Decode(TypeRaw, data, &got); err != nil || !bytes.Equal(got, data) {
			t.Fatalf("got %x, %v, want %x", got, err, data)
		}
	})
}
