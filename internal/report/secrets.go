package report

import (
	"strings"

	"ukdump/internal/secret"
)

// strikeOut replaces the values of secret parameters of a command line, and passwords in URLs, by
// "*" and returns their number.
func strikeOut(line string) (string, int) {
	n := 0
	words := splitWords(line)
	for i, word := range words {
		name, value, ok := strings.Cut(word, "=")
		if !ok || value == "" {
			continue
		}
		if secret.Is(name) {
			words[i] = name + "=*"
			n++
			continue
		}
		if clean, found := strikeURL(value); found {
			words[i] = name + "=" + clean
			n++
		}
	}
	return strings.Join(words, " "), n
}

// strikeURL replaces the password in scheme://user:password@host or protocol:user:password@host,
// and the values of secret options in a list with commas, by "*".
func strikeURL(value string) (string, bool) {
	found := false
	if head, rest, ok := strings.Cut(value, "@"); ok {
		if i := strings.LastIndexByte(head, ':'); strings.Count(head, ":") > 1 && i < len(head)-1 {
			value, found = head[:i+1]+"*@"+rest, true
		}
	}
	if !strings.Contains(value, ",") {
		return value, found
	}
	parts := strings.Split(value, ",")
	for i, p := range parts {
		if name, v, ok := strings.Cut(p, "="); ok && v != "" && secret.Is(name) {
			parts[i], found = name+"=*", true
		}
	}
	return strings.Join(parts, ","), found
}

// splitWords splits a command line at spaces that are not inside double quotes, as the kernel
// does (lib/cmdline.c, next_arg).
func splitWords(line string) (words []string) {
	quoted, start := false, 0
	for i := range len(line) {
		switch {
		case line[i] == '"':
			quoted = !quoted
		case line[i] == ' ' && !quoted:
			if i > start {
				words = append(words, line[start:i])
			}
			start = i + 1
		}
	}
	if start < len(line) {
		words = append(words, line[start:])
	}
	return words
}
