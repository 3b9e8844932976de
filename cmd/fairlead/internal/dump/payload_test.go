// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package dump

import (
	"bytes"
	"compress/gzip"
	"encoding/hex"
	"runtime"
	"strings"
	"testing"

	"github.com/fairlead/fairlead/rpcruntime/wire"
)

func zipped(t *testing.T, data []byte) string {
	t.Helper()
	var out bytes.Buffer
	z := gzip.NewWriter(&out)
	if _, err := z.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return hex.EncodeToString(out.Bytes())
}

func TestPayloads(t *testing.T) {
	const raw, json, protobuf, msgpack, thrift = wire.SerializeRaw, wire.SerializeJSON, wire.SerializeProtobuf, wire.SerializeMsgPack, wire.SerializeThrift
	deep := strings.Repeat("91", 100) + "c0"
	small := zipped(t, []byte(`{"a":1}`))
	tests := map[string]struct {
		s     wire.Serialize
		z     wire.Compress
		hex   string
		limit int
		text  string
		note  string
	}{
		"json as it is":                  {json, 0, hex.EncodeToString([]byte(`{"a": "b\n"}`)), 100, `{"a": "b\n"}`, ""},
		"json with line ends":            {json, 0, hex.EncodeToString([]byte("{\n}")), 100, `{\n}`, ""},
		"not json":                       {json, 0, "7b", 100, "{", "it is not JSON"},
		"json, cut":                      {json, 0, hex.EncodeToString([]byte(`[1,2,3,4]`)), 4, "[1,2", "cut"},
		"json, cut between letters":      {json, 0, hex.EncodeToString([]byte(`"ééé"`)), 4, `"é`, "cut"},
		"msgpack map":                    {msgpack, 0, "82a1410aa14214", 100, `{"A":10,"B":20}`, ""},
		"msgpack integers":               {msgpack, 0, "9a7fe0ffccffcdffffceffffffffcfffffffffffffffffd080d18000d280000000", 200, "[127,-32,-1,255,65535,4294967295,18446744073709551615,-128,-32768,-2147483648]", ""},
		"msgpack int64":                  {msgpack, 0, "d38000000000000000", 100, "-9223372036854775808", ""},
		"msgpack floats and constants":   {msgpack, 0, "95ca3fc00000cb3ff8000000000000c0c2c3", 100, "[1.5,1.5,null,false,true]", ""},
		"msgpack texts":                  {msgpack, 0, "93a0d90161da000162", 100, `["","a","b"]`, ""},
		"msgpack long text":              {msgpack, 0, "db0000000163", 100, `"c"`, ""},
		"msgpack bytes":                  {msgpack, 0, "93c4010ac500020102c600000000", 100, `[0x0a,0x0102,0x]`, ""},
		"msgpack long containers":        {msgpack, 0, "94dc000101dd0000000102de00010304df000000010506", 100, `[[1],[2],{3:4},{5:6}]`, ""},
		"msgpack times":                  {msgpack, 0, "93d6ff00000001d7ff0000000400000002c70cff000000050000000000000003", 200, `["1970-01-01T00:00:01Z","1970-01-01T00:00:02.000000001Z","1970-01-01T00:00:03.000000005Z"]`, ""},
		"msgpack extensions":             {msgpack, 0, "95d40501d50501 02c8000105aac900000001 05bbd806000102030405060708090a0b0c0d0e0f", 200, `[ext(5,0x01),ext(5,0x0102),ext(5,0xaa),ext(5,0xbb),ext(6,0x000102030405060708090a0b0c0d0e0f)]`, ""},
		"msgpack values":                 {msgpack, 0, "0102", 100, "1 2", ""},
		"msgpack that ends":              {msgpack, 0, "82a14105", 100, `{"A":5,`, "it is not MsgPack from byte 4 on: it ends inside a value"},
		"msgpack that claims":            {msgpack, 0, "dfffffffff01", 100, `{1:`, "it ends inside a value"},
		"msgpack without meaning":        {msgpack, 0, "c1", 100, "", "0xc1 is no code"},
		"msgpack nested deep":            {msgpack, 0, deep, 1000, strings.Repeat("[", 65), "too deep"},
		"msgpack, cut":                   {msgpack, 0, "dd7fffffff01020304", 5, "[1,2,", "cut"},
		"msgpack text, cut":              {msgpack, 0, "a568656c6c6f", 3, `"he`, "cut"},
		"protobuf":                       {protobuf, 0, "08061007", 100, "1:varint:6 2:varint:7", ""},
		"protobuf kinds":                 {protobuf, 0, "0a026869 1500000040 19000000000000f03f 2203ff0001", 200, `1:text:"hi" 2:fixed32:1073741824(2) 3:fixed64:4607182418800017408(1) 4:bytes:0xff0001`, ""},
		"protobuf in protobuf":           {protobuf, 0, "0a040a020801", 100, "1:message:{1:message:{1:varint:1}}", ""},
		"protobuf group":                 {protobuf, 0, "0b08010c", 100, "1:group:{1:varint:1}", ""},
		"protobuf that ends":             {protobuf, 0, "08060a05", 100, "1:varint:6", "it is not Protobuf from byte 2 on"},
		"protobuf, cut":                  {protobuf, 0, "08061007", 6, "1:vari", "cut"},
		"raw":                            {raw, 0, "68690aff", 100, "68 69 0a ff |hi..|", ""},
		"raw, cut":                       {raw, 0, "68690aff", 2, "68 69 |hi|", "cut"},
		"thrift":                         {thrift, 0, "0b00", 100, "0b 00 |..|", ""},
		"a codec of somebody":            {9, 0, "41", 100, "41 |A|", ""},
		"gzip":                           {json, 1, small, 100, `{"a":1}`, "gzip of 7 bytes"},
		"gzip, cut":                      {json, 1, small, 3, `{"a`, "cut"},
		"gzip, damaged":                  {json, 1, small[:len(small)-16] + "0000000000000000", 100, `{"a":1}`, "damaged"},
		"not gzip":                       {json, 1, "7b7d", 100, "7b 7d |{}|", "not gzip"},
		"a bomb":                         {raw, 1, zipped(t, make([]byte, 2<<20)), 2, "00 00 |..|", "gzip of more than 1048576 bytes"},
		"a compressor of somebody":       {json, 5, "7b7d", 100, "7b 7d |{}|", "compressor 5 is not known here"},
		"escapes":                        {msgpack, 0, "a51b5b324a9b", 100, `"\x1b[2J\x9b"`, ""},
		"escapes in json":                {json, 0, "221be280ae22", 100, `"\x1b\u202e"`, "it is not JSON"},
		"nothing where something is due": {protobuf, 1, zipped(t, nil), 100, "", "gzip of 0 bytes"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			data, err := hex.DecodeString(strings.ReplaceAll(test.hex, " ", ""))
			if err != nil {
				t.Fatal(err)
			}
			text, notes := payloadText(test.s, test.z, part{data, uint64(len(data))}, test.limit)
			all := strings.Join(notes, "; ")
			if text != test.text || !strings.Contains(all, test.note) || test.note == "" && all != "" {
				t.Errorf("%s (%s), want\n%s (%s)", text, all, test.text, test.note)
			}
			checkPrintable(t, text)
		})
	}
}

// Of a bomb no more is unpacked than is looked at.
func TestBombsStayPacked(t *testing.T) {
	bomb, err := hex.DecodeString(zipped(t, make([]byte, 8<<20)))
	if err != nil {
		t.Fatal(err)
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	_, _ = payloadText(wire.SerializeRaw, wire.CompressGzip, part{bomb, uint64(len(bomb))}, 10)
	runtime.ReadMemStats(&after)
	if used := after.TotalAlloc - before.TotalAlloc; used > 10*inflated {
		t.Errorf("it took %d bytes", used)
	}
}

// Of a payload that was not kept whole, what is there is shown, and is not
// called wrong.
func TestPayloadNotWhole(t *testing.T) {
	for name, test := range map[string]struct {
		s    wire.Serialize
		z    wire.Compress
		hex  string
		text string
	}{
		"json":     {wire.SerializeJSON, 0, "5b31", "[1"},
		"msgpack":  {wire.SerializeMsgPack, 0, "9205", "[5,"},
		"protobuf": {wire.SerializeProtobuf, 0, "08050a05", "1:varint:5"},
		"gzip":     {wire.SerializeRaw, 1, "1f8b", "1f 8b |..|"},
	} {
		data, err := hex.DecodeString(test.hex)
		if err != nil {
			t.Fatal(err)
		}
		text, notes := payloadText(test.s, test.z, part{data, 1000}, 100)
		all := strings.Join(notes, "; ")
		if text != test.text || !strings.Contains(all, "only the first") || strings.Contains(all, "it is not") {
			t.Errorf("%s: %s (%s)", name, text, all)
		}
	}
}

// Tokens are shown by nobody, however their key is written.
func TestSecretsAreHidden(t *testing.T) {
	for _, key := range []string{"__AUTH", "__auth", "Authorization", "Cookie"} {
		if got := entryText([]byte(key), []byte("open sesame"), 100); got != "(hidden, 11 bytes)" {
			t.Errorf("%s is shown: %s", key, got)
		}
	}
	for value, want := range map[string]string{
		"abc": `"abc"`, "\xff\x00": "0xff00", "a\x1bb": `"a\x1bb"`, "": `""`, "0123456789abc": `"0123456789..." (13 bytes)`,
	} {
		if got := entryText([]byte("k"), []byte(value), 10); got != want {
			t.Errorf("%q is shown as %s, want %s", value, got, want)
		}
	}
}
