// Package makedumpfile has the facts about makedumpfile(8): the features of a program,
// its options, and the meaning of its output. It runs nothing.
//
// PID 1 of the capture kernel links this package, so it imports little.
package makedumpfile

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
)

// Program is a makedumpfile and its features.
type Program struct {
	Path         string   // on the machine, for errors
	Version      string   // "1.7.2"
	Compressions []string // that it was built with: none, zlib, lzo, snappy, zstd
	Limits       bool     // it has -L, which bounds the size of the output
}

// optional are the compressions that makedumpfile may be built without. zlib
// and none are always there.
var optional = []string{"lzo", "snappy", "zstd"}

// maxVersion bounds the length of a version in bytes.
const maxVersion = 32

// Parse finds the version and the features in the file of a makedumpfile. They
// are constant strings that -v and -h print (show_version and print_usage in
// print_info.c). Parse does not run the program, which may be for another machine.
// Version is empty if the file is no makedumpfile.
func Parse(file []byte) Program {
	p := Program{
		Version:      version(file),
		Compressions: []string{"none", "zlib"},
		Limits:       bytes.Contains(file, []byte("[-L SIZE]")),
	}
	for _, c := range optional {
		if bytes.Contains(file, []byte(c+"\tenabled\n")) {
			p.Compressions = append(p.Compressions, c)
		}
	}
	return p
}

// version returns the version in "makedumpfile: version 1.7.2 (released on".
func version(file []byte) string {
	const prefix = "makedumpfile: version "
	for {
		_, rest, ok := bytes.Cut(file, []byte(prefix))
		if !ok {
			return ""
		}
		v := string(rest[:min(len(rest), maxVersion+1)])
		v, _, ok = strings.Cut(v, " (")
		if ok && v != "" && !strings.ContainsAny(v, " \t\n\f\r") {
			return v
		}
		file = rest
	}
}

// Choose returns the compression to use: the wanted one, or the best of p for auto, which
// is that with the smallest output if the output is slow, and otherwise the fastest. zlib
// comes last: it is several times slower than the others.
func (p Program) Choose(want string, slow bool) (string, error) {
	if want != "auto" {
		if !slices.Contains(p.Compressions, want) {
			return "", fmt.Errorf("COMPRESS=%s: %s %s does not support %s, only %s", want, p.Path, p.Version, want, strings.Join(p.Compressions, ", "))
		}
		return want, nil
	}
	order := []string{"lzo", "snappy", "zstd"}
	if slow {
		order = []string{"zstd", "lzo", "snappy"}
	}
	for _, c := range order {
		if slices.Contains(p.Compressions, c) {
			return c, nil
		}
	}
	return "zlib", nil
}

// Options returns the options of makedumpfile for a compression. ok is false if
// there is none of that name.
func Options(compression string) (options []string, ok bool) {
	switch compression {
	case "none":
		return nil, true
	case "zlib":
		return []string{"-c"}, true
	case "lzo":
		return []string{"-l"}, true
	case "snappy":
		return []string{"-p"}, true
	case "zstd":
		return []string{"-z"}, true
	}
	return nil, false
}
