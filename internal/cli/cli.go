// Package cli is the common part of the command lines: it parses options, reports
// errors and returns exit statuses.
package cli

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"ukdump/internal/advice"
)

// Program is one run of a program as a value, so that tests can run it in
// process.
type Program struct {
	Name   string
	Args   []string // without the program's name
	Stdout io.Writer
	Stderr io.Writer
}

// Main returns the program that this process is.
func Main(name string) *Program {
	return &Program{Name: name, Args: os.Args[1:], Stdout: os.Stdout, Stderr: os.Stderr}
}

// End reports err to the person, as one line, or one for each of several mistakes, and
// one line of advice, and returns the exit status.
func (p *Program) End(err error) int {
	if err == nil || errors.As(err, new(advice.Answer)) {
		return advice.Status(err)
	}
	// A name from a file system or an image must not steer the terminal.
	for line := range strings.SplitSeq(err.Error(), ";\n") {
		fmt.Fprintf(p.Stderr, "%s: %s\n", p.Name, Clean(line))
	}
	if a := advice.For(err); a != "" {
		fmt.Fprintf(p.Stderr, "%s: %s\n", p.Name, Clean(a))
	}
	return advice.Status(err)
}

// Say prints one line on standard output.
func (p *Program) Say(format string, a ...any) { fmt.Fprintf(p.Stdout, format+"\n", a...) }

// Warn prints warnings about work that succeeded.
func (p *Program) Warn(warnings ...string) {
	for _, w := range warnings {
		fmt.Fprintf(p.Stderr, "%s: warning: %s\n", p.Name, Clean(w))
	}
}

// Usage marks err as a mistake on the command line.
func Usage(err error) error { return &advice.UsageError{Text: err.Error()} }
