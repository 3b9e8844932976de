// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package codec_test

import (
	"bytes"
	"compress/zlib"
	"encoding/xml"
	"errors"
	"fmt"
	"io"

	"github.com/fairlead/fairlead/rpcruntime/codec"
)

// XML is a codec of a program's own.
type XML struct{}

// Append appends v behind what dst holds.
func (XML) Append(dst []byte, v any) ([]byte, error) {
	data, err := xml.Marshal(v)
	return append(dst, data...), err
}

// Decode copies what it keeps: data is used again afterwards.
func (XML) Decode(data []byte, v any) error { return xml.Unmarshal(data, v) }

// Zlib is a compressor of a program's own.
type Zlib struct{}

// Compress appends behind what dst holds.
func (Zlib) Compress(dst, data []byte) ([]byte, error) {
	buf := bytes.NewBuffer(dst)
	w := zlib.NewWriter(buf)
	_, err := w.Write(data)
	err = errors.Join(err, w.Close())
	return buf.Bytes(), err
}

// Decompress stops reading at the limit, and knows by one byte more that there
// was more.
func (Zlib) Decompress(dst, data []byte, limit int) ([]byte, error) {
	r, err := zlib.NewReader(bytes.NewReader(data))
	if err != nil {
		return dst, err
	}
	buf := bytes.NewBuffer(dst)
	n, err := io.Copy(buf, io.LimitReader(r, int64(limit)+1))
	switch {
	case err != nil:
		return dst, err
	case n > int64(limit):
		return dst, codec.ErrTooLarge
	}
	return buf.Bytes(), nil
}

// Types 5 to 15 are free for codecs, 2 to 7 for compressors. Both sides need
// them; a runtime takes the set by rpcruntime.WithCodecs.
func Example() {
	const (
		typeXML      codec.Type         = 5
		compressZlib codec.CompressType = 2
	)
	codecs, err := codec.New().With(typeXML, XML{})
	if err != nil {
		fmt.Println(err)
		return
	}
	if codecs, err = codecs.WithCompressor(compressZlib, Zlib{}); err != nil {
		fmt.Println(err)
		return
	}

	type Args struct{ A, B int }
	payload, err := codecs.Append(typeXML, nil, Args{A: 10, B: 20})
	fmt.Println(string(payload), err)
	packed, err := codecs.Compress(compressZlib, nil, payload)
	if err != nil {
		fmt.Println(err)
		return
	}

	payload, err = codecs.Decompress(compressZlib, nil, packed, 1<<20)
	if err != nil {
		fmt.Println(err)
		return
	}
	var args Args
	err = codecs.Decode(typeXML, payload, &args)
	fmt.Println(args, err)
	_, err = codecs.Decompress(compressZlib, nil, packed, 20)
	fmt.Println(errors.Is(err, codec.ErrTooLarge))
	// Output:
	// <Args><A>10</A><B>20</B></Args> <nil>
	// {10 20} <nil>
	// true
}
