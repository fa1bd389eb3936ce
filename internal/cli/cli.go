// Package cli is what the programs have in common on the command line: how they
// read options, report errors and end.
package cli

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"regexp"
	"slices"
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

// Flags returns an empty set of options for a verb, "" for the program itself.
// usage is what -h prints; it goes to Stdout and ends with status 0.
func (p *Program) Flags(verb, usage string) *flag.FlagSet {
	fs := flag.NewFlagSet(strings.TrimSpace(p.Name+" "+verb), flag.ContinueOnError)
	fs.SetOutput(io.Discard) // Parse's error is reported once, by End
	fs.Usage = func() { fmt.Fprint(p.Stdout, usage) }
	return fs
}

// Parse parses options wherever they stand and returns the other arguments, of
// which there may be from min to max (-1: any number). After "--" nothing is an
// option. The error is flag.ErrHelp or a usage error.
func Parse(fs *flag.FlagSet, args []string, min, max int) ([]string, error) {
	var literal, rest []string
	if i := slices.Index(args, "--"); i >= 0 {
		args, literal = args[:i], args[i+1:]
	}
	usage := fs.Usage
	fs.Usage = func() {} // else Parse calls it for every mistake
	for {
		if err := fs.Parse(args); errors.Is(err, flag.ErrHelp) {
			usage()
			return nil, err
		} else if err != nil {
			return nil, misuse(fs, err)
		}
		if fs.NArg() == 0 {
			break
		}
		rest, args = append(rest, fs.Arg(0)), fs.Args()[1:]
	}
	rest = append(rest, literal...)
	if len(rest) < min {
		return nil, misuse(fs, errors.New("an argument is missing"))
	}
	if max >= 0 && len(rest) > max {
		return nil, misuse(fs, fmt.Errorf("unexpected argument %q", rest[max]))
	}
	return rest, nil
}

// oneDash finds the name of an option in an error of package flag, which writes it
// with one dash.
var oneDash = regexp.MustCompile(`(defined: |argument: |for |for flag )-([[:alnum:]][[:alnum:]-]+)`)

func misuse(fs *flag.FlagSet, err error) error {
	return Usage(fmt.Errorf("%s: see %s --help", oneDash.ReplaceAllString(err.Error(), "$1--$2"), fs.Name()))
}

// List is an option that may be given several times.
type List []string

// String implements flag.Value.
func (l *List) String() string { return strings.Join(*l, " ") }

// Set implements flag.Value.
func (l *List) Set(s string) error {
	*l = append(*l, s)
	return nil
}

// End reports err to the person, as one line and one line of advice, and
// returns the exit status.
func (p *Program) End(err error) int {
	switch {
	case err == nil, errors.Is(err, flag.ErrHelp):
		return advice.Done
	case errors.Is(err, advice.ErrNotLoaded): // that was the answer, not an error
		return advice.NotLoaded
	}
	// A name from a file system or an image must not steer the terminal.
	fmt.Fprintf(p.Stderr, "%s: %s\n", p.Name, Clean(err.Error()))
	if a := advice.For(err); a != "" {
		fmt.Fprintf(p.Stderr, "%s: %s\n", p.Name, Clean(a))
	}
	return advice.Status(err)
}

// Say prints one line on standard output.
func (p *Program) Say(format string, a ...any) { fmt.Fprintf(p.Stdout, format+"\n", a...) }

// Warn prints things a person should know although the work was done.
func (p *Program) Warn(warnings ...string) {
	for _, w := range warnings {
		fmt.Fprintf(p.Stderr, "%s: warning: %s\n", p.Name, Clean(w))
	}
}

// Usage marks err as a mistake on the command line.
func Usage(err error) error { return &advice.UsageError{Text: err.Error()} }
