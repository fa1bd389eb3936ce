package debug

import (
	"fmt"
	"strings"

	"ukdump/internal/advice"
	"ukdump/internal/dumpfile"
)

// Debugger is a program that opens a dump.
type Debugger string

// The debuggers, in the order of preference: crash knows the most about kernels, and gdb
// nothing.
const (
	Crash Debugger = "crash"
	Drgn  Debugger = "drgn"
	GDB   Debugger = "gdb"
)

// Debuggers is the list of them.
var Debuggers = []Debugger{Crash, Drgn, GDB}

// Converted reports whether the debugger needs an ELF core of the dump: gdb reads no other
// format, and makedumpfile(8) makes none of a kdump-compressed file.
func (d Debugger) Converted(k Kernel) bool { return d == GDB && k.Header.Format != dumpfile.ELF }

// reads reports whether the debugger can open the dump.
func (d Debugger) reads(k Kernel) bool { return !d.Converted(k) || k.Machine == "amd64" }

// Choose returns the debugger to use: the one that is asked for, else the first that is
// installed and can open the dump. look finds a program.
func Choose(with string, k Kernel, look func(string) (string, error)) (Debugger, error) {
	if with != "" {
		d := Debugger(with)
		if !d.reads(k) {
			return "", advice.With(fmt.Errorf("%s reads ELF cores only: this dump is %s", d, k.Header.Format), "Use crash or drgn.")
		}
		return d, nil
	}
	for _, d := range Debuggers {
		if _, err := look(string(d)); err == nil && d.reads(k) {
			return d, nil
		}
	}
	return "", advice.With(fmt.Errorf("no debugger for a dump that is %s: neither crash nor drgn is installed", k.Header.Format), "Install the package crash or drgn.")
}

// Command returns the command line that opens a dump. All paths are absolute.
func (d Debugger) Command(v Found, core string, k Kernel, args []string) []string {
	var cmd []string
	switch d {
	case Crash:
		cmd = []string{"crash"}
		if v.Code != "" {
			cmd = append(cmd, v.Code)
		}
		cmd = append(cmd, v.Path, core)
	case Drgn:
		cmd = []string{"drgn", "-c", core, "-s", v.Path}
	case GDB:
		// gdb does not know of KASLR. The core comes first: reading the symbols would
		// forget their offset.
		cmd = []string{"gdb", "-c", core, "-ex", fmt.Sprintf("symbol-file %s -o %#x", gdbQuote(v.Path), k.Offset)}
	}
	return append(cmd, args...)
}

// gdbQuote quotes a word of a command of gdb, which splits as a shell does.
func gdbQuote(s string) string {
	if !strings.ContainsAny(s, " \t\n'\"\\") {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// ShellQuote returns a command as a person types it.
func ShellQuote(args []string) string {
	words := make([]string, len(args))
	for i, a := range args {
		words[i] = a
		if a == "" || strings.Trim(a, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789@%+=:,./_-") != "" {
			words[i] = "'" + strings.ReplaceAll(a, "'", `'\''`) + "'"
		}
	}
	return strings.Join(words, " ")
}
