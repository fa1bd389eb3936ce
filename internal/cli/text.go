package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"unicode"
	"unicode/utf16"
)

// MaxText is the limit, in characters, for printing one text of a dump.
const MaxText = 1000

// Clean returns s on one line and without characters that a terminal would obey:
// control characters, and those that change the direction of writing.
func Clean(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n' || r == '\t':
			return ' '
		case !unicode.IsPrint(r):
			return '?'
		}
		return r
	}, strings.TrimSpace(s))
}

// Text returns s clean and with at most limit characters, the last of which is an
// ellipsis if s has more.
func Text(s string, limit int) string {
	s = Clean(s)
	n := 0
	end := 0 // of the part that is left if s is too long
	for i := range s {
		if n == limit-1 {
			end = i
		}
		if n++; n > limit {
			return s[:end] + "…"
		}
	}
	return s
}

// OrDash returns s, or a dash if s is empty.
func OrDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// Size prints a number of bytes for people.
func Size(n int64) string {
	units := []string{"B", "KiB", "MiB", "GiB", "TiB"}
	f, i := float64(n), 0
	for ; f >= 1023.95 && i < len(units)-1; i++ { // would be rounded to 1024.0
		f /= 1024
	}
	if i == 0 {
		return fmt.Sprintf("%d B", n)
	}
	return fmt.Sprintf("%.1f %s", f, units[i])
}

// WriteJSON writes v for programs and for a person's terminal: characters that JSON
// allows in strings but a terminal would obey are escaped.
func WriteJSON(w io.Writer, v any) error {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return err
	}
	var out strings.Builder
	for _, r := range b.String() {
		switch {
		case r == '\n' || unicode.IsPrint(r):
			out.WriteRune(r)
		default:
			for _, u := range utf16.Encode([]rune{r}) {
				fmt.Fprintf(&out, `\u%04x`, u)
			}
		}
	}
	_, err := io.WriteString(w, out.String())
	return err
}

// List joins names for a sentence: "a, b and c".
func List(names []string) string {
	last := len(names) - 1
	if last < 1 {
		return strings.Join(names, "")
	}
	return strings.Join(names[:last], ", ") + " and " + names[last]
}
