// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package dump

import (
	"encoding/hex"
	"strconv"
	"strings"
	"unicode/utf8"
)

// appendSafe appends text of a peer as a terminal may have it: what is not
// printable, or not UTF-8, is escaped. Backslashes stay as they are, so that JSON
// reads as it was sent.
func appendSafe(dst []byte, text string) []byte {
	for len(text) > 0 {
		r, n := utf8.DecodeRuneInString(text)
		if strconv.IsPrint(r) && (r != utf8.RuneError || n > 1) {
			dst = append(dst, text[:n]...)
		} else {
			quoted := strconv.Quote(text[:n])
			dst = append(dst, quoted[1:len(quoted)-1]...)
		}
		text = text[n:]
	}
	return dst
}

func safe(text string) string { return string(appendSafe(nil, text)) }

// printable reports whether all of data is text that needs no escape.
func printable(data []byte) bool {
	for len(data) > 0 {
		r, n := utf8.DecodeRune(data)
		if !strconv.IsPrint(r) || r == utf8.RuneError && n < 2 {
			return false
		}
		data = data[n:]
	}
	return true
}

// maxName bounds what is shown of a path, a method or an error's text. Bytes.
const maxName = 256

// clipped bounds text and says if it did.
func clipped(text string, limit int) string {
	if len(text) <= limit {
		return text
	}
	for limit > 0 && !utf8.RuneStart(text[limit]) {
		limit--
	}
	return text[:limit] + cut
}

// name is a path and a method as one word of the line.
func name(path, method string) string {
	whole := path + "." + method
	switch {
	case path == "" && method == "":
		return "-"
	case path == cut && method == cut:
		return cut
	}
	whole = clipped(whole, maxName)
	if strings.ContainsAny(whole, " \"=\\") || !printable([]byte(whole)) {
		return strconv.Quote(whole)
	}
	return whole
}

// hidden are the keys whose values let somebody in. In lower case.
var hidden = map[string]bool{
	"__auth": true, "authorization": true, "proxy-authorization": true, "cookie": true, "set-cookie": true,
}

// entryText is the value of a metadata entry, for -v.
func entryText(key, value []byte, limit int) string {
	if hidden[strings.ToLower(string(key))] {
		return "(hidden, " + strconv.Itoa(len(value)) + " bytes)"
	}
	return valueText(value, limit)
}

// valueText is bytes as quoted text if they are text, else as hex.
func valueText(value []byte, limit int) string {
	shown := value[:min(len(value), limit)]
	text := strconv.Quote(clipped(string(value), limit))
	if !printable(shown) && !utf8.Valid(value) {
		text = "0x" + hex.EncodeToString(shown)
	}
	if len(value) > limit {
		text += " (" + strconv.Itoa(len(value)) + " bytes)"
	}
	return text
}
