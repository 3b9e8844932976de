// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package dump

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"time"
	"unicode/utf8"
)

// reporter prints events, and counts for the summary. It keeps the first error of
// the output, after which it prints nothing.
type reporter struct {
	opts *Options
	out  io.Writer
	line []byte
	err  error

	frames, notes int
	protocols     [len(protocolNames)]int
}

func (r *reporter) report(e *event) {
	if r.err != nil {
		return
	}
	if r.opts.JSON {
		r.line, r.err = appendJSON(r.line[:0], e)
	} else {
		r.line = appendLine(r.line[:0], e)
	}
	if r.err == nil {
		_, r.err = r.out.Write(r.line)
	}
}

// appendJSON appends e as one line. What is not printable is escaped, as in text.
func appendJSON(dst []byte, e *event) ([]byte, error) {
	var line bytes.Buffer
	enc := json.NewEncoder(&line)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(e); err != nil {
		return dst, err
	}
	// All that may not be printed stands in strings, where \u is understood.
	for text := bytes.TrimSuffix(line.Bytes(), []byte{'\n'}); len(text) > 0; {
		r, n := utf8.DecodeRune(text)
		if strconv.IsPrint(r) {
			dst = append(dst, text[:n]...)
		} else if r > 0xffff {
			r -= 0x10000
			dst = fmt.Appendf(dst, `\u%04x\u%04x`, 0xd800+r>>10, 0xdc00+r&0x3ff)
		} else {
			dst = fmt.Appendf(dst, `\u%04x`, r)
		}
		text = text[n:]
	}
	return append(dst, '\n'), nil
}

// appendLine appends e as a line of text, and with -v what follows it.
func appendLine(dst []byte, e *event) []byte {
	dst = e.Time.UTC().AppendFormat(dst, "15:04:05.000000")
	dst = fmt.Appendf(dst, " %s %s %s ", e.Client, e.Direction, e.Server)
	if e.FrameInfo == nil {
		return append(appendSafe(append(dst, "-- "...), e.Note), '\n')
	}
	dst = fmt.Appendf(dst, "%s seq=%d %s %s", e.Kind, e.Seq, name(e.Path, e.Method), e.Serialize)
	if e.Compress != "none" {
		dst = append(append(dst, ' '), e.Compress...)
	}
	word := func(key, value string) {
		if value != "" {
			dst = appendSafe(append(append(dst, ' '), key...), value)
		}
	}
	word("", e.Status)
	word("code=", e.Code)
	word("retry=", e.Retry)
	word("", e.Control)
	if dst = fmt.Appendf(dst, " bytes=%d", e.Bytes); e.Partial {
		dst = append(dst, " meta=? payload=?"...)
	} else {
		dst = fmt.Appendf(dst, " meta=%d payload=%d", e.Metadata, e.Payload)
	}
	if e.Missing > 0 {
		dst = fmt.Appendf(dst, " missing=%d", e.Missing)
	}
	if e.Took != nil {
		word("took=", e.Took.Round(time.Microsecond).String())
	}
	if e.Error != "" {
		dst = strconv.AppendQuote(append(dst, ' '), e.Error)
	}
	dst = append(dst, '\n')
	for _, m := range e.Entries {
		dst = fmt.Appendf(dst, "    %s = %s\n", name1(m.Key), safe(m.Value))
	}
	if e.Text != "" || len(e.Notes) > 0 {
		dst = fmt.Appendf(dst, "    %s: %s", e.Serialize, safe(e.Text))
		for _, note := range e.Notes {
			dst = fmt.Appendf(dst, " (%s)", safe(note))
		}
		dst = append(dst, '\n')
	}
	return dst
}

// name1 is a metadata key as one word.
func name1(key string) string {
	if key == "" || !printable([]byte(key)) || bytes.ContainsAny([]byte(key), " \"=\\") {
		return strconv.Quote(key)
	}
	return key
}
