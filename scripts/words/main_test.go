package main

import (
	"strings"
	"testing"
	"testing/fstest"
)

func TestRun(t *testing.T) {
	plain := strings.Repeat("word ", 499)
	for name, test := range map[string]struct {
		file, text string
		status     int
	}{
		"comment at the limit":    {"a/a.go", "package a\n\n// What " + plain + "\n", 1},
		"comment below the limit": {"a/a.go", "package a\n\n// What " + plain + "word\n", 0},
		"block comment":           {"a/a.go", "package a\n\n/*\nwhat\n*/\n", 1},
		"test":                    {"a/a_test.go", "package a // what\n", 1},
		"identifier and string":   {"a/a.go", "package a\n\n// A word.\nvar what = \"// what\"\n", 0},
		"part of a word":          {"a/a.go", "package a // whatever somewhat\n", 0},
		"document":                {"a/README.md", "So what?\n", 1},
		"code in a document":      {"a/README.md", "Say `what`:\n\n```\nwhat\n```\n", 0},
		"manual page":             {"a/a.8", ".TP\n.B what\nIt is so.\n", 1},
		"word with escapes":       {"a/a.8", "\\fIwhat\\fR\n", 1},
		"other files":             {"a/a.txt", "what\n", 0},
		"test data":               {"a/testdata/a.md", "what\n", 0},
		"other folder":            {"b/a.md", "what\n", 0},
	} {
		t.Run(name, func(t *testing.T) {
			fsys := fstest.MapFS{"a/empty.go": {Data: []byte("package a\n")}, test.file: {Data: []byte(test.text)}}
			var out strings.Builder
			if got := run(fsys, []string{"a"}, &out); got != test.status {
				t.Errorf("status %d, want %d:\n%s", got, test.status, out.String())
			}
			if named := strings.Contains(out.String(), test.file); named != (test.status == 1) {
				t.Errorf("file named: %v\n%s", named, out.String())
			}
		})
	}
	var out strings.Builder
	if got := run(fstest.MapFS{}, []string{"missing"}, &out); got != 2 {
		t.Errorf("missing folder: status %d:\n%s", got, out.String())
	}
}

func TestFilesWithTheMostComeFirst(t *testing.T) {
	fsys := fstest.MapFS{
		"a.md": {Data: []byte("what")},
		"b.md": {Data: []byte("what what")},
		"c.md": {Data: []byte("word")},
	}
	var out strings.Builder
	run(fsys, nil, &out)
	const want = "documents: 3 \"what\" in 4 words, 750.0 in 1,000; below 2 is wanted\n     2  b.md\n     1  a.md\n"
	if out.String() != want {
		t.Errorf("got %q, want %q", out.String(), want)
	}
}
