// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// maxHeaderText bounds the text of an error in a header: proxies take little.
// Bytes.
const maxHeaderText = 1 << 10

// headerText makes s fit to stand in a header: valid UTF-8 without control
// characters, at most maxHeaderText bytes.
func headerText(s string) string {
	if len(s) > maxHeaderText {
		end := maxHeaderText
		for end > 0 && !utf8.RuneStart(s[end]) {
			end--
		}
		s = s[:end]
	}
	s = strings.ToValidUTF8(s, "?")
	s = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, s)
	return strings.TrimSpace(s)
}
