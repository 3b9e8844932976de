// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package manifest

import (
	"bytes"
	"errors"
	"io"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// chunk is the text of one YAML document of a file. A file is cut before it is parsed, the way kubectl cuts it, so that a
// document that is no YAML at all does not hide those after it.
type chunk struct {
	text []byte
	line int // of the file, counted from 1, on which text begins
}

// cut splits a file where a line begins a document. The line itself belongs to the document that it begins.
func cut(data []byte) []chunk {
	var chunks []chunk
	start, startLine, line := 0, 1, 1
	for at := 0; at < len(data); line++ {
		end := bytes.IndexByte(data[at:], '\n') + 1
		if end == 0 {
			end = len(data) - at
		}
		if beginsDocument(data[at:at+end]) && at > start {
			chunks = append(chunks, chunk{text: data[start:at], line: startLine})
			start, startLine = at, line
		}
		at += end
	}
	return append(chunks, chunk{text: data[start:], line: startLine})
}

func beginsDocument(line []byte) bool {
	rest, ok := bytes.CutPrefix(line, []byte("---"))
	return ok && (len(rest) == 0 || strings.ContainsRune(" \t\r\n", rune(rest[0])))
}

// fault is something wrong at a line of a chunk, counted from 1.
type fault struct {
	line    int
	message string
}

// parse reads the one document of a chunk. It returns nil for a document that says nothing.
func parse(text []byte) (*yaml.Node, *fault) {
	feed := &lineFeed{rest: text}
	decoder := yaml.NewDecoder(feed)
	var document yaml.Node
	if err := decoder.Decode(&document); errors.Is(err, io.EOF) {
		return nil, nil
	} else if err != nil {
		line := wrongLine(text, feed.lines, err, wellFormed)
		return nil, &fault{line: line, message: syntaxMessage(text, line, err)}
	}
	var second yaml.Node
	if err := decoder.Decode(&second); !errors.Is(err, io.EOF) {
		line := feed.lines
		if err == nil {
			line = second.Line
		}
		return nil, &fault{line: line, message: "another document begins here; put a line with --- before it"}
	}
	if len(document.Content) == 0 || isNull(document.Content[0]) {
		return nil, nil
	}
	return document.Content[0], nil
}

func isNull(n *yaml.Node) bool {
	return n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null"
}

// lineFeed hands out one line per Read, so that after a syntax error lines says how far the parser had come.
type lineFeed struct {
	rest  []byte
	lines int
}

func (f *lineFeed) Read(p []byte) (int, error) {
	if len(f.rest) == 0 {
		return 0, io.EOF
	}
	end := bytes.IndexByte(f.rest, '\n') + 1
	if end == 0 {
		end = len(f.rest)
	}
	n := copy(p, f.rest[:end])
	f.rest = f.rest[n:]
	if n == end {
		f.lines++
	}
	return n, nil
}

// nearBudget and wrongBudget bound, in bytes, what is parsed again to find a wrong line: near the end, and in all.
const (
	nearBudget  = 8 << 20
	wrongBudget = 64 << 20
)

// wrongLine finds the line of a text that a parser cannot read, and gave err for. The parsers name the line on which the
// surrounding block began, or one beside it, or none, so their word is not taken: the wrong line is the one after the
// longest beginning of the text that can be read. reached is the number of lines that the parser had read when it gave
// up.
//
// The wrong line is nearly always the last one reached or just before it, and is looked for there first. Where something
// was opened and never closed it may be anywhere: the line that the parser names is tried, and then halves, as if no
// longer beginning could be read than one that cannot, which is so but for what lies inside brackets and quotes.
func wrongLine(text []byte, reached int, err error, readable func([]byte) bool) int {
	ends := lineEnds(text)
	reached = max(1, min(reached, len(ends)))
	budget := wrongBudget
	good := func(lines int) bool {
		if lines > 0 {
			budget -= ends[lines-1]
		}
		return lines == 0 || budget > 0 && readable(text[:ends[lines-1]])
	}
	near := max(0, reached-max(2, min(10, nearBudget/(len(text)+1))))
	for lines := reached - 1; lines >= near; lines-- {
		if good(lines) {
			return lines + 1
		}
	}
	if n := namedLine(err); n > 0 && n <= near && good(n-1) && !good(n) {
		return n
	}
	low, high := 0, near // Invariant: the first low lines can be read, the first high lines cannot.
	for high-low > 1 {
		if middle := (low + high) / 2; good(middle) {
			low = middle
		} else {
			high = middle
		}
	}
	return low + 1
}

var parserLine = regexp.MustCompile(`line ([0-9]+): `)

// namedLine is the line that an error of a parser names, or 0.
func namedLine(err error) int {
	match := parserLine.FindStringSubmatch(err.Error())
	if match == nil {
		return 0
	}
	n, err := strconv.Atoi(match[1])
	if err != nil {
		return 0
	}
	return n
}

func lineEnds(text []byte) []int {
	var ends []int
	for i, b := range text {
		if b == '\n' {
			ends = append(ends, i+1)
		}
	}
	if len(ends) == 0 || ends[len(ends)-1] < len(text) {
		ends = append(ends, len(text))
	}
	return ends
}

func wellFormed(text []byte) bool {
	var document yaml.Node
	err := yaml.Unmarshal(text, &document)
	return err == nil
}

var parserPrefix = regexp.MustCompile(`^(error converting YAML to JSON: )?yaml: (unmarshal errors:\n  )?(line [0-9]+: )?`)

func syntaxMessage(text []byte, line int, err error) string {
	ends := lineEnds(text)
	start := 0
	if line > 1 {
		start = ends[line-2]
	}
	indent := text[start : start+len(text[start:ends[line-1]])-len(bytes.TrimLeft(text[start:ends[line-1]], " \t"))]
	if bytes.IndexByte(indent, '\t') >= 0 {
		return "not valid YAML: a tab indents this line; use spaces"
	}
	return "not valid YAML: " + parserPrefix.ReplaceAllString(err.Error(), "")
}

// notText finds the first line that is not UTF-8.
func notText(data []byte) *fault {
	if utf8.Valid(data) {
		return nil
	}
	line := 1
	for len(data) > 0 {
		r, size := utf8.DecodeRune(data)
		if r == utf8.RuneError && size == 1 {
			break
		}
		if r == '\n' {
			line++
		}
		data = data[size:]
	}
	return &fault{line: line, message: "not UTF-8 text; save the file as UTF-8"}
}
