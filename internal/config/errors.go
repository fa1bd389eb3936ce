package config

import (
	"errors"
	"fmt"
	"strings"
)

// Error is a mistake in a configuration file.
type Error struct {
	File   string
	Line   int // from 1
	Column int // of a character that is wrong, in characters from 1; 0 if the line is
	Text   string
}

func (e *Error) Error() string {
	if e.Column > 0 {
		return fmt.Sprintf("%s:%d:%d: %s", e.File, e.Line, e.Column, e.Text)
	}
	return fmt.Sprintf("%s:%d: %s", e.File, e.Line, e.Text)
}

// Advice returns the remedy in one line.
func (e *Error) Advice() string { return "See ukdump.conf(5) for the keys and their values." }

// Errors are several mistakes.
type Errors []error

// Error returns a line for each mistake.
func (e Errors) Error() string {
	var lines []string
	for _, err := range e {
		lines = append(lines, err.Error())
	}
	return strings.Join(lines, ";\n")
}

// Unwrap returns the mistakes.
func (e Errors) Unwrap() []error { return e }

// joined returns errs as one error, which is the first one if that is the only one.
func joined(errs []error) error {
	var all Errors
	for _, err := range errs {
		if list := Errors(nil); errors.As(err, &list) {
			all = append(all, list...)
			continue
		}
		all = append(all, err)
	}
	switch len(all) {
	case 0:
		return nil
	case 1:
		return all[0]
	}
	return all
}
