// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package registry

import (
	"bytes"
	"fmt"

	"github.com/vmihailenco/msgpack/v5"

	"github.com/fairlead/fairlead/rpcruntime/wire"
)

// encode gives the same bytes for the same message.
func encode(message any) ([]byte, error) {
	var b bytes.Buffer
	enc := msgpack.NewEncoder(&b)
	enc.UseCompactInts(true)
	if err := enc.Encode(message); err != nil {
		return nil, fmt.Errorf("encoding %T: %w", message, err)
	}
	return b.Bytes(), nil
}

// EncodePush gives the whole frame of a push, as it goes onto a connection: a
// oneway request with the path PushPath. The bytes are the same for everyone who
// gets it, and nobody may change them.
func EncodePush(p Push) ([]byte, error) {
	payload, err := encode(p)
	if err != nil {
		return nil, err
	}
	kind := p.Kind()
	b := wire.Begin(make([]byte, 0, wire.FrameLen(len(PushPath), len(kind), 0, len(payload))),
		wire.RequestHeader(0, wire.SerializeMsgPack, true), PushPath, kind)
	return b.Payload(payload), nil
}
