// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package manifest

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

const (
	missing         = "is missing, but required"
	labelWords      = "a name of up to 63 lower-case letters, digits and -, with a letter or digit at both ends"
	subdomainWords  = "a name of lower-case letters, digits, - and ., with a letter or digit at both ends of each part"
	methodWords     = "the name of a method such as Arith.Mul: letters, digits and _ . / -, with a letter or _ in front"
	labelValueWords = "the value of a label: up to 63 letters, digits and - _ ., with a letter or digit at both ends"
	labelKeyWords   = "the key of a label such as team or example.com/team"
	durationWords   = "a duration such as 300ms or 1m30s: whole numbers, each with h, m, s or ms"
)

// patternWords says in words what the patterns of our schemas want.
func patternWords(pattern string) (words string, ok bool) {
	words, ok = map[string]string{
		`^([0-9]{1,5}(h|m|s|ms)){1,4}$`:                                                     durationWords,
		`^[A-Za-z_][A-Za-z0-9_./-]{0,252}$`:                                                 methodWords,
		`^[a-z0-9]([-a-z0-9]*[a-z0-9])?$`:                                                   labelWords,
		`^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$`:                 subdomainWords,
		`^(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?$`:                                     labelValueWords,
		`^([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$`: labelKeyWords,
	}[pattern]
	return words, ok
}

// maxShown bounds how much of a value a message repeats, in bytes.
const maxShown = 64

// show writes a value the way its file does, shortened.
func show(value any) string {
	switch v := value.(type) {
	case nil:
		return "nothing"
	case string:
		if len(v) > maxShown {
			end := maxShown
			for !utf8.RuneStart(v[end]) {
				end--
			}
			v = v[:end] + "..."
		}
		return fmt.Sprintf("%q", v)
	case map[string]any:
		return "a mapping"
	case []any:
		return "a list"
	default:
		return fmt.Sprint(v)
	}
}

func notA(value any, words string) string { return show(value) + " is not " + words }

// wrongType says that a value of another type is wanted. Of wanted only the first words are used, up to a colon.
func wrongType(value any, wanted string) string {
	wanted, _, _ = strings.Cut(wanted, ":")
	switch value := value.(type) {
	case nil:
		return "is empty, where " + wanted + " is expected"
	case bool: // YAML 1.1 also makes one of y, yes, on, n, no and off
		message := fmt.Sprintf("is read as %v, where %s is expected", value, wanted)
		switch wanted {
		case "a list", "a mapping", "a manifest", "a number", "a whole number":
			return message
		}
		return message + "; put it in quotes if it is meant as text"
	case int64:
		return show(value) + " is a whole number, where " + wanted + " is expected"
	case float64:
		return show(value) + " is a number, where " + wanted + " is expected"
	case string:
		return show(value) + " is a string, where " + wanted + " is expected"
	default:
		return show(value) + " stands where " + wanted + " is expected"
	}
}

func noneOf(value any, choices []string) string {
	return show(value) + " is none of " + strings.Join(choices, ", ")
}

func unknownField(name string, known []string) string {
	if near := nearest(name, known); near != "" {
		return fmt.Sprintf("unknown field; did you mean %s?", near)
	}
	return "unknown field"
}

// nearest finds the word that somebody who wrote got probably meant, or nothing.
func nearest(got string, words []string) string {
	best, distance := "", 2
	if len(got) > 4 {
		distance = 3
	}
	for _, word := range words {
		if strings.EqualFold(got, word) {
			return word
		}
		if d := edits(got, word); d < distance {
			best, distance = word, d
		}
	}
	return best
}

// edits counts the letters to change, insert or drop to make b of a. Words longer than any field's name are not compared.
func edits(a, b string) int {
	if len(a) > maxShown || len(b) > maxShown {
		return max(len(a), len(b))
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := diagonal
			if a[i] != b[j] {
				change++
			}
			diagonal = row[j+1]
			row[j+1] = min(change, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
