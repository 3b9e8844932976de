// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package codec_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/fairlead/fairlead/rpcruntime"
	"github.com/fairlead/fairlead/rpcruntime/codec"
)

// marked is a user's codec and compressor: JSON behind its mark, and bytes from
// back to front behind it. It counts its uses.
type marked struct {
	mark                                       byte
	encoded, decoded, compressed, decompressed atomic.Int32
}

func (m *marked) Append(dst []byte, v any) ([]byte, error) {
	m.encoded.Add(1)
	data, err := json.Marshal(v)
	return append(append(dst, m.mark), data...), err
}

func (m *marked) Decode(data []byte, v any) error {
	m.decoded.Add(1)
	rest, ok := bytes.CutPrefix(data, []byte{m.mark})
	if !ok {
		return fmt.Errorf("the mark is not %d", m.mark)
	}
	return json.Unmarshal(rest, v)
}

func (m *marked) Compress(dst, data []byte) ([]byte, error) {
	m.compressed.Add(1)
	return reversed(append(dst, m.mark), data), nil
}

func (m *marked) Decompress(dst, data []byte, limit int) ([]byte, error) {
	m.decompressed.Add(1)
	rest, ok := bytes.CutPrefix(data, []byte{m.mark})
	switch {
	case !ok:
		return dst, fmt.Errorf("the mark is not %d", m.mark)
	case len(rest) > limit:
		return dst, codec.ErrTooLarge
	}
	return reversed(dst, rest), nil
}

func reversed(dst, data []byte) []byte {
	for i := len(data) - 1; i >= 0; i-- {
		dst = append(dst, data[i])
	}
	return dst
}

type text struct{ S string }

// serveEcho runs a server and a runtime with these codecs until the test ends.
func serveEcho(t *testing.T, codecs *codec.Set) (rt *rpcruntime.Runtime, address string) {
	t.Helper()
	rt, err := rpcruntime.New(rpcruntime.WithoutRegistry(), rpcruntime.WithCodecs(codecs))
	if err != nil {
		t.Fatal(err)
	}
	srv := rt.NewServer()
	rpcruntime.Handle(srv, "Text.Echo", func(_ context.Context, v *text) (*text, error) { return v, nil })
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- srv.Serve(ctx, ln) }()
	t.Cleanup(func() {
		stop()
		if err := <-served; err != nil {
			t.Error(err)
		}
		if err := rt.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return rt, ln.Addr().String()
}

// docs/wire-protocol.md §2: 5 to 15 are free for codecs, 2 to 7 for compressors.
func TestUsersCodecsAndCompressorsAreUsedByCalls(t *testing.T) {
	set := codec.New()
	users := make(map[byte]*marked)
	for n := byte(2); n <= byte(codec.MaxType); n++ {
		m := &marked{mark: n}
		var err error
		if n <= byte(codec.MaxCompressType) {
			if set, err = set.WithCompressor(codec.CompressType(n), m); err != nil {
				t.Fatal(err)
			}
		}
		if n >= 5 {
			if set, err = set.With(codec.Type(n), m); err != nil {
				t.Fatal(err)
			}
		}
		users[n] = m
	}
	rt, address := serveEcho(t, set)
	big := &text{strings.Repeat("a", 2*codec.CompressAbove)}
	for typ := codec.Type(5); typ <= codec.MaxType; typ++ {
		compress := codec.CompressType(2 + typ%6) // 2 to 7
		client := rt.NewClient("text", rpcruntime.Endpoints(address), rpcruntime.WithCodec(typ), rpcruntime.WithCompression(compress))
		enc, zip := users[byte(typ)], users[byte(compress)]
		wasZipped, wasUnzipped := zip.compressed.Load(), zip.decompressed.Load()
		got, err := rpcruntime.Call[text](t.Context(), client, "Text.Echo", big)
		if err != nil || *got != *big {
			t.Fatalf("%s, %s: %v", typ, compress, err)
		}
		if e, d := enc.encoded.Load(), enc.decoded.Load(); e != 2 || d != 2 {
			t.Errorf("%s: encoded %d times, decoded %d, want twice each: argument and reply", typ, e, d)
		}
		if c, d := zip.compressed.Load()-wasZipped, zip.decompressed.Load()-wasUnzipped; c != 2 || d != 2 {
			t.Errorf("%s: compressed %d times, decompressed %d, want twice each: argument and reply", compress, c, d)
		}
	}
}
