// Package advice attaches a remedy to an error, and maps errors to exit statuses.
package advice

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"syscall"
)

// Exit statuses of all programs.
const (
	Done   = 0
	Failed = 1
	Usage  = 2
)

// Answer is an exit status that is a verb's answer and no failure. Programs print
// nothing about it.
type Answer int

func (a Answer) Error() string { return fmt.Sprintf("exit status %d", int(a)) }

// UsageError is a mistake in the command line.
type UsageError struct{ Text string }

func (e *UsageError) Error() string { return e.Text }

// Status returns the exit status for the error of a program.
func Status(err error) int {
	var usage *UsageError
	var answer Answer
	switch {
	case err == nil:
		return Done
	case errors.As(err, &usage):
		return Usage
	case errors.As(err, &answer):
		return int(answer)
	}
	return Failed
}

// For returns the remedy for err, in one line without newline; "" if no error has one.
// Such errors have a method Advice() string; the outermost that does not return ""
// counts.
func For(err error) string {
	if text := own(err); text != "" {
		return strings.Join(strings.Fields(text), " ")
	}
	switch {
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return "Free some space on that file system."
	case errors.Is(err, syscall.EROFS):
		return "Name a file on a file system that can be written."
	case errors.Is(err, fs.ErrPermission) && geteuid() != 0:
		return "Run the command as root, for example with sudo."
	}
	return ""
}

var geteuid = os.Geteuid // replaced in tests

// With returns err with a remedy. text replaces the advice of err itself; if text is
// empty, For continues with err.
func With(err error, text string) error { return &advised{err, text} }

// advised is an error with advice, see With.
type advised struct {
	error
	text string
}

// Unwrap returns the error without this advice.
func (e *advised) Unwrap() error { return e.error }

// Advice returns the remedy.
func (e *advised) Advice() string { return e.text }

// own returns the first advice in the tree of err, in the order of errors.As, and
// skips errors without advice.
func own(err error) string {
	if err == nil {
		return ""
	}
	if a, ok := err.(interface{ Advice() string }); ok {
		if text := a.Advice(); text != "" {
			return text
		}
	}
	switch u := err.(type) {
	case interface{ Unwrap() error }:
		return own(u.Unwrap())
	case interface{ Unwrap() []error }:
		for _, e := range u.Unwrap() {
			if text := own(e); text != "" {
				return text
			}
		}
	}
	return ""
}
