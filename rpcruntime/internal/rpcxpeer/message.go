// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package rpcxpeer

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// Serialize types.
const (
	SerializeNone     byte = 0
	SerializeJSON     byte = 1
	SerializeProtobuf byte = 2
	SerializeMsgPack  byte = 3
	SerializeThrift   byte = 4
)

// Compress types.
const (
	CompressNone byte = 0
	CompressGzip byte = 1
)

// Metadata keys of rpcx.
const (
	KeyError         = "__rpcx_error__"
	KeyAuth          = "__AUTH"
	KeyServerTimeout = "__ServerTimeout"
	KeyServerAddress = "__ServerAddress"
)

const (
	magic = 0x08

	bitResponse  = 0x80
	bitHeartbeat = 0x40
	bitOneway    = 0x20

	// compressAbove is the size of a payload above which it is compressed. Bytes.
	compressAbove = 1024
	// maxFrame bounds what is read, compressed and not. Bytes. rpcx has no bound.
	maxFrame = 128 << 20
)

// Message is one frame.
type Message struct {
	Version   byte
	Response  bool
	Heartbeat bool
	Oneway    bool
	// Failed is status 1.
	Failed bool
	// Compress says how the payload travels; Payload itself is never compressed.
	Compress  byte
	Serialize byte
	// Reserved is the low half of the fourth byte.
	Reserved byte
	Seq      uint64

	Path, Method string
	// Meta is nil if the frame had none.
	Meta    map[string]string
	Payload []byte
}

// Encode returns the frame. A compress type that nobody knows is dropped without
// a word, as in rpcx. The order of metadata is random.
func (m *Message) Encode() []byte {
	payload, compress := m.Payload, m.Compress
	switch compress {
	case CompressNone:
	case CompressGzip:
		payload = zip(payload)
	default:
		compress = CompressNone
	}
	flags := compress << 2
	for bit, set := range map[byte]bool{bitResponse: m.Response, bitHeartbeat: m.Heartbeat, bitOneway: m.Oneway, 1: m.Failed} {
		if set {
			flags |= bit
		}
	}
	var body []byte
	field := func(dst []byte, s string) []byte {
		return append(binary.BigEndian.AppendUint32(dst, uint32(len(s))), s...)
	}
	body = field(field(body, m.Path), m.Method)
	var meta []byte
	for k, v := range m.Meta {
		meta = field(field(meta, k), v)
	}
	body = field(field(body, string(meta)), string(payload))

	out := []byte{magic, m.Version, flags, m.Serialize<<4 | m.Reserved&0x0f}
	out = binary.BigEndian.AppendUint64(out, m.Seq)
	return append(binary.BigEndian.AppendUint32(out, uint32(len(body))), body...)
}

var errMagic = errors.New("rpcxpeer: wrong magic number")

// Read reads one message.
func Read(r io.Reader) (*Message, error) {
	head := make([]byte, 16)
	if _, err := io.ReadFull(r, head[:1]); err != nil {
		return nil, err
	}
	if head[0] != magic {
		return nil, errMagic
	}
	if _, err := io.ReadFull(r, head[1:]); err != nil {
		return nil, err
	}
	total := int64(binary.BigEndian.Uint32(head[12:]))
	if total > maxFrame {
		return nil, fmt.Errorf("rpcxpeer: message of %d bytes is too long", total)
	}
	var body bytes.Buffer
	if _, err := io.CopyN(&body, r, total); err != nil {
		return nil, io.ErrUnexpectedEOF
	}
	flags := head[2]
	m := &Message{
		Version: head[1], Response: flags&bitResponse != 0, Heartbeat: flags&bitHeartbeat != 0, Oneway: flags&bitOneway != 0,
		Compress: flags >> 2 & 7, Failed: flags&3 == 1, Serialize: head[3] >> 4, Reserved: head[3] & 0x0f, Seq: binary.BigEndian.Uint64(head[4:]),
	}
	return m, m.fill(body.Bytes())
}

// fill takes the fields out of what follows the prefix.
func (m *Message) fill(body []byte) error {
	var path, method, meta []byte
	for _, into := range []*[]byte{&path, &method, &meta} {
		var ok bool
		if *into, body, ok = take(body); !ok {
			return errors.New("rpcxpeer: lengths do not add up")
		}
	}
	m.Path, m.Method = string(path), string(method)
	for len(meta) > 0 {
		var k, v []byte
		var ok bool
		if k, meta, ok = take(meta); ok {
			v, meta, ok = take(meta)
		}
		if !ok {
			return errors.New("rpcxpeer: metadata does not end with an entry")
		}
		if m.Meta == nil {
			m.Meta = make(map[string]string)
		}
		m.Meta[string(k)] = string(v)
	}
	if len(body) < 4 {
		return errors.New("rpcxpeer: no payload length")
	}
	payload := body[4:] // the rest, whatever its length says
	switch m.Compress {
	case CompressNone:
	case CompressGzip:
		var err error
		if payload, err = unzip(payload); err != nil {
			return err
		}
	default:
		return fmt.Errorf("rpcxpeer: unsupported compressor: %d", m.Compress)
	}
	m.Payload = payload
	return nil
}

// take cuts a field that has its length before it.
func take(b []byte) (field, rest []byte, ok bool) {
	if len(b) < 4 {
		return nil, nil, false
	}
	n := int64(binary.BigEndian.Uint32(b))
	if n > int64(len(b)-4) {
		return nil, nil, false
	}
	return b[4 : 4+n], b[4+n:], true
}

// zip compresses as rpcx does: a flush before the end leaves an empty block.
func zip(b []byte) []byte {
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	_, _ = w.Write(b) // a bytes.Buffer takes everything
	_ = w.Flush()
	_ = w.Close()
	return out.Bytes()
}

func unzip(b []byte) ([]byte, error) {
	r, err := gzip.NewReader(bytes.NewReader(b))
	if err != nil {
		return nil, fmt.Errorf("rpcxpeer: %w", err)
	}
	plain, err := io.ReadAll(io.LimitReader(r, maxFrame))
	if err != nil {
		return nil, fmt.Errorf("rpcxpeer: %w", err)
	}
	return plain, nil
}
