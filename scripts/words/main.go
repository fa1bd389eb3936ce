// Words fails if comments or documents say "what" too often: a sentence that
// names its object by "what" has to be read twice, see docs/style.md.
//
//	go run ./scripts/words [FOLDER...]
package main

import (
	"fmt"
	"go/scanner"
	"go/token"
	"io"
	"io/fs"
	"os"
	"path"
	"regexp"
	"slices"
	"strings"
	"unicode"
)

// limit is the number of "what" in 1,000 words at which a group fails.
const limit = 2

// shown is how many files of a group are named.
const shown = 10

// A count is the words of a file or of a group of files.
type count struct {
	name        string
	what, words int
	files       []count // of a group
}

func (c *count) add(name, text string) {
	file := count{name: name}
	for _, word := range strings.FieldsFunc(text, func(r rune) bool { return !unicode.IsLetter(r) }) {
		file.words++
		if strings.EqualFold(word, "what") {
			file.what++
		}
	}
	c.what += file.what
	c.words += file.words
	c.files = append(c.files, file)
}

// rate returns how often "what" stands in 1,000 words.
func (c *count) rate() float64 {
	return 1000 * float64(c.what) / float64(max(c.words, 1))
}

func (c *count) print(w io.Writer) {
	fmt.Fprintf(w, "%s: %d \"what\" in %d words, %.1f in 1,000; below %d is wanted\n", c.name, c.what, c.words, c.rate(), limit)
	slices.SortStableFunc(c.files, func(a, b count) int { return b.what - a.what })
	for _, file := range c.files[:min(shown, len(c.files))] {
		if file.what > 0 {
			fmt.Fprintf(w, "%6d  %s\n", file.what, file.name)
		}
	}
}

// read counts the files below folders of fsys: comments of Go files, and
// documents. Folders whose names begin with a dot and testdata are not ours.
func read(fsys fs.FS, folders []string) (groups []count, err error) {
	comments, documents := count{name: "comments"}, count{name: "documents"}
	visit := func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		base := path.Base(name)
		if entry.IsDir() {
			if base == "testdata" || strings.HasPrefix(base, ".") && base != "." {
				return fs.SkipDir
			}
			return nil
		}
		group, text := &comments, commentsOf
		switch {
		case path.Ext(base) == ".go":
		case path.Ext(base) == ".md":
			group, text = &documents, markdownOf
		case manualPage.MatchString(base):
			group, text = &documents, manualOf
		default:
			return nil
		}
		data, err := fs.ReadFile(fsys, name)
		if err != nil {
			return err
		}
		group.add(name, text(data))
		return nil
	}
	for _, folder := range folders {
		if err := fs.WalkDir(fsys, path.Clean(folder), visit); err != nil {
			return nil, err
		}
	}
	return []count{comments, documents}, nil
}

// commentsOf returns the comments of a Go file, without directives.
func commentsOf(source []byte) string {
	var text strings.Builder
	var s scanner.Scanner
	file := token.NewFileSet().AddFile("", -1, len(source))
	s.Init(file, source, nil, scanner.ScanComments)
	for {
		_, tok, literal := s.Scan()
		switch {
		case tok == token.EOF:
			return text.String()
		case tok == token.COMMENT && !strings.HasPrefix(literal, "//go:"):
			text.WriteString(literal + "\n")
		}
	}
}

var (
	manualPage = regexp.MustCompile(`\.[1-9]$`)
	fenced     = regexp.MustCompile("(?ms)^```.*?^```")
	quoted     = regexp.MustCompile("`[^`]*`")
	macro      = regexp.MustCompile(`(?m)^\.[^ \n]+`)
	escape     = regexp.MustCompile(`\\(\(..|f.|.)`)
)

// markdownOf returns a document without its code.
func markdownOf(source []byte) string {
	return quoted.ReplaceAllString(fenced.ReplaceAllString(string(source), ""), "")
}

// manualOf returns a manual page without macros and escapes. An escape such as
// \- stands inside a word.
func manualOf(source []byte) string {
	return escape.ReplaceAllString(macro.ReplaceAllString(string(source), ""), "")
}

// run returns the exit status.
func run(fsys fs.FS, folders []string, w io.Writer) int {
	if len(folders) == 0 {
		folders = []string{"."}
	}
	groups, err := read(fsys, folders)
	if err != nil {
		fmt.Fprintln(w, "words:", err)
		return 2
	}
	status := 0
	for _, group := range groups {
		if group.rate() >= limit {
			group.print(w)
			status = 1
		}
	}
	return status
}

func main() {
	os.Exit(run(os.DirFS("."), os.Args[1:], os.Stderr))
}
