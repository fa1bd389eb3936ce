package config

import (
	"fmt"
	"unicode"
	"unicode/utf8"
)

// byteOrderMark begins a file that an editor of Windows has saved; systemd skips it,
// too (conf-parser.c).
const byteOrderMark = "\ufeff"

// checkCharacters returns the first character of a line that cannot be meant: a
// control character, or one that looks like a blank, a quote or a dash, or like
// nothing. Texts from web pages and word processors have them. The error has neither
// file nor line.
func checkCharacters(line string) *Error {
	column := 0
	for i, r := range line {
		column++
		if why := wrongCharacter(line[i:], r); why != "" {
			return &Error{Column: column, Text: why}
		}
	}
	return nil
}

// wrongCharacter returns the reason why r, at the beginning of rest, is wrong.
func wrongCharacter(rest string, r rune) string {
	if r == utf8.RuneError {
		if _, n := utf8.DecodeRuneInString(rest); n == 1 {
			return fmt.Sprintf("the byte 0x%02X is not UTF-8", rest[0])
		}
		return "U+FFFD stands for a character that was lost"
	}
	if r < utf8.RuneSelf && !unicode.IsControl(r) || r == '\t' {
		return ""
	}
	kind := ""
	switch {
	case unicode.IsControl(r):
		kind = "a control character"
	case unicode.Is(unicode.Z, r): // of which ASCII has one
		kind = "a space that separates nothing: write a blank"
	case unicode.In(r, unicode.Cf, unicode.Variation_Selector, invisible):
		kind = "invisible: remove it"
	case unicode.In(r, unicode.Pi, unicode.Pf), r == '\u201a', r == '\u201e', r == '\u2032', r == '\u2033', r == '\u00b4':
		kind = `a typographic quote: write " or '`
	case unicode.Is(unicode.Pd, r), r == '\u2212':
		kind = "a dash, but no minus: write -"
	case r == '\u2026':
		kind = "an ellipsis: write three dots"
	case r >= '\uff01' && r <= '\uff5e': // forms as wide as Chinese characters
		kind = fmt.Sprintf("a wide character: write %c", r-'\uff01'+'!')
	}
	if kind == "" {
		return ""
	}
	return fmt.Sprintf("%U is %s", r, kind)
}

// invisible has letters and symbols that are drawn as nothing.
var invisible = &unicode.RangeTable{R16: []unicode.Range16{
	{Lo: 0x034f, Hi: 0x034f, Stride: 1}, {Lo: 0x115f, Hi: 0x1160, Stride: 1}, {Lo: 0x17b4, Hi: 0x17b5, Stride: 1},
	{Lo: 0x2800, Hi: 0x2800, Stride: 1}, {Lo: 0x3164, Hi: 0x3164, Stride: 1}, {Lo: 0xffa0, Hi: 0xffa0, Stride: 1},
}}

// notASCII returns the first character of s that is not ASCII and its place in
// characters from 1; ok is false if s is ASCII.
func notASCII(s string) (r rune, column int, ok bool) {
	for _, r := range s {
		column++
		if r >= utf8.RuneSelf {
			return r, column, true
		}
	}
	return 0, 0, false
}
