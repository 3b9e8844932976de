// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package dump

import (
	"bytes"
	"compress/gzip"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"unicode/utf8"

	"github.com/fairlead/fairlead/rpcruntime/wire"
)

// clip is text that stops growing at its limit.
type clip struct {
	buf   []byte
	limit int
	full  bool
}

func (c *clip) add(text string) {
	if c.full || len(c.buf)+len(text) > c.limit {
		n := max(0, c.limit-len(c.buf))
		for n > 0 && n < len(text) && !utf8.RuneStart(text[n]) {
			n--
		}
		text, c.full = text[:min(n, len(text))], true
	}
	c.buf = append(c.buf, text...)
}

// quote adds text in quotes. It looks at no more of it than can be shown.
func (c *clip) quote(text []byte) {
	c.add(strconv.Quote(string(text[:min(len(text), c.limit-len(c.buf)+1)])))
}

// hex adds bytes as hexadecimal digits.
func (c *clip) hex(data []byte) {
	c.add("0x" + hex.EncodeToString(data[:min(len(data), c.limit-len(c.buf)+1)]))
}

// inflated is how much of a compressed payload is looked at. Bytes.
const inflated = 1 << 20

// payloadText describes a payload for people: its text, and what must be known
// of it beside. At most limit bytes of it are shown.
func payloadText(s wire.Serialize, z wire.Compress, p part, limit int) (text string, notes []string) {
	data := p.kept
	whole := p.whole()
	if !whole {
		notes = append(notes, fmt.Sprintf("only the first %d bytes were kept", len(data)))
	}
	if z != wire.CompressNone && p.size > 0 {
		var note string
		data, whole, note = decompressed(z, p)
		notes = append(notes, note)
		if data == nil {
			data, s = p.kept, wire.SerializeRaw
		}
	}
	c := clip{limit: limit}
	var err error
	switch s {
	case wire.SerializeJSON:
		c.add(safe(string(data[:min(len(data), limit+1)])))
		if whole && len(data) > 0 && !json.Valid(data) {
			err = errors.New("it is not JSON")
		}
	case wire.SerializeMsgPack:
		err = msgpackText(&c, data)
	case wire.SerializeProtobuf:
		err = protobufText(&c, data)
	default:
		rawText(&c, data)
	}
	if err != nil && whole {
		notes = append(notes, err.Error())
	}
	if c.full {
		notes = append(notes, "cut")
	}
	return safe(string(c.buf)), notes
}

// decompressed returns what a compressed payload holds, and nil if that cannot
// be known.
func decompressed(z wire.Compress, p part) (data []byte, whole bool, note string) {
	if z != wire.CompressGzip {
		return nil, false, fmt.Sprintf("compressor %d is not known here", z)
	}
	r, err := gzip.NewReader(bytes.NewReader(p.kept))
	if err != nil {
		return nil, false, "not gzip: " + err.Error()
	}
	data, err = io.ReadAll(io.LimitReader(r, inflated+1))
	switch {
	case len(data) > inflated:
		return data[:inflated], false, fmt.Sprintf("gzip of more than %d bytes", inflated)
	case err != nil && !p.whole():
		return data, false, "gzip"
	case err != nil:
		return data, false, fmt.Sprintf("gzip, damaged behind %d bytes: %v", len(data), err)
	default:
		return data, true, fmt.Sprintf("gzip of %d bytes", len(data))
	}
}

// rawText shows bytes in hexadecimal, and as text beside it. Each of them counts
// once against the limit.
func rawText(c *clip, data []byte) {
	shown := data[:min(len(data), c.limit)]
	c.full = len(shown) < len(data)
	if len(shown) == 0 {
		return
	}
	c.buf = fmt.Appendf(c.buf, "% x |", shown)
	for _, b := range shown {
		if b < ' ' || b > '~' {
			b = '.'
		}
		c.buf = append(c.buf, b)
	}
	c.buf = append(c.buf, '|')
}
