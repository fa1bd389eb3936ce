package ctl

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"

	"ukdump/internal/advice"
	"ukdump/internal/cli"
	"ukdump/internal/crashdir"
	"ukdump/internal/debug"
	"ukdump/internal/unseal"
)

const aboutDebug = `Opens a dump in a debugger: finds the vmlinux with debug information that belongs to it,
by its build ID, and runs crash, drgn or gdb with both.

DUMP is a name as for info, FILE is any vmcore. The default is the newest dump. ARGS go
to the debugger.`

// debugOptions are the options of debug.
type debugOptions struct {
	dumpOptions
	with, vmlinux string
	print         bool
}

func (c *ctl) debugVerb() *cli.Command {
	var o debugOptions
	return &cli.Command{
		Name: "debug", Summary: "open a dump in crash, drgn or gdb", About: aboutDebug,
		Options: func(f *pflag.FlagSet) {
			f.StringVar(&o.with, "with", "", "`DEBUGGER` crash, drgn or gdb (default: the first of them that is installed)")
			f.StringVar(&o.vmlinux, "vmlinux", "", "`FILE` the kernel with debug information")
			f.BoolVar(&o.print, "print", false, "only print the command")
			o.addIdentity(f)
			o.addDir(f)
		},
		Args: "[DUMP | FILE] [-- ARGS]", Max: 1, Values: c.dumpNames(&o.dumpOptions), Files: true,
		RunWith: func(args, rest []string) error { return c.debug(o, strings.Join(args, ""), rest) },
	}
}

func (c *ctl) debug(o debugOptions, name string, args []string) error {
	if o.with != "" && !slices.Contains(debug.Debuggers, debug.Debugger(o.with)) {
		return cli.Usage(fmt.Errorf("unknown debugger %q: choose crash, drgn or gdb", o.with))
	}
	ids, err := o.identities()
	if err != nil {
		return err
	}
	core, err := c.vmcore(o.dir, name)
	if err != nil {
		return err
	}
	memory, err := openContentOf(core, ids)
	if err != nil {
		return err
	}
	defer memory.Close()
	k, err := debug.Identify(memory)
	if err != nil {
		return advise(fmt.Errorf("%s: %w", core, err))
	}
	d, err := debug.Choose(o.with, k, c.lookPath)
	if err != nil {
		return err
	}
	found, err := c.vmlinux(k, o.vmlinux)
	if err != nil {
		return err
	}
	if !found.Exact {
		c.Warn(found.Path + ": no build ID to compare: release and version are those of the dump")
	}
	if o.print {
		switch {
		case d.Converted(k):
			c.Warn("gdb cannot read this dump: without --print, kdumpctl makes an ELF core of it")
		case memory.sealed:
			c.Warn(string(d) + " cannot read encrypted dumps: without --print, kdumpctl makes a decrypted copy")
		}
		c.Say("%s", cli.Clean(debug.ShellQuote(d.Command(found, core, k, args))))
		return nil
	}
	path, err := c.lookPath(string(d))
	if err != nil {
		return advice.With(fmt.Errorf("%s: not installed", d), "Install the package "+string(d)+".")
	}
	if d.Converted(k) {
		return c.withELF(core, ids, k, func(elf string) error { return c.wait(path, d.Command(found, elf, k, args)) })
	}
	if memory.sealed {
		if core, err = c.decryptedCopy(memory); err != nil {
			return err
		}
	}
	cmd := d.Command(found, core, k, args)
	if err := c.exec(path, cmd); err != nil {
		return fmt.Errorf("run %s: %w", path, err)
	}
	return nil
}

// replaceBy runs another program in place of this one.
func replaceBy(path string, args []string) error { return unix.Exec(path, args, os.Environ()) }

// runAndWait runs another program, with this one's input and output.
func runAndWait(path string, args []string) error {
	// Ctrl-C is for the debugger.
	ignored := make(chan os.Signal, 1)
	signal.Notify(ignored, os.Interrupt)
	defer signal.Stop(ignored)
	cmd := exec.Command(path)
	cmd.Args = args
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	err := cmd.Run()
	var ended *exec.ExitError
	if errors.As(err, &ended) && ended.ExitCode() > 0 {
		return advice.Answer(ended.ExitCode()) // the debugger has said why
	}
	return err
}

// withELF calls f with an ELF core of the dump, which is in a directory that only the caller
// can read, and is removed afterwards.
func (c *ctl) withELF(core string, ids *unseal.Identities, k debug.Kernel, f func(elf string) error) error {
	parent := largeTemp()
	if err := roomForELF(core, ids, k, parent); err != nil {
		return err
	}
	dir, err := os.MkdirTemp(parent, "ukdump-debug-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	// Nobody else removes the copy of the memory.
	ends := make(chan os.Signal, 1)
	signal.Notify(ends, os.Interrupt, unix.SIGTERM, unix.SIGHUP)
	defer close(ends)
	defer signal.Stop(ends)
	go func() {
		if s, ok := <-ends; ok {
			os.RemoveAll(dir)
			os.Exit(128 + int(s.(unix.Signal)))
		}
	}()
	d, err := openDump(core, ids)
	if err != nil {
		return err
	}
	defer d.Close()
	elf, err := os.OpenFile(filepath.Join(dir, "vmcore"), os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	task := c.Begin("making an ELF core for gdb")
	err = debug.ELFCore(elf, d, task.Share)
	task.End()
	if err = cmp.Or(err, elf.Close()); err != nil {
		return err
	}
	signal.Stop(ends)
	signal.Notify(ends, unix.SIGTERM, unix.SIGHUP) // Ctrl-C is for the debugger
	return f(elf.Name())
}

// largeTemp is the directory for temporary files that are large, see file-hierarchy(7).
func largeTemp() string { return cmp.Or(os.Getenv("TMPDIR"), "/var/tmp") }

// roomForELF returns an error if an ELF core of the dump has no room in dir.
func roomForELF(core string, ids *unseal.Identities, k debug.Kernel, dir string) error {
	const headers = 48 << 20 // at most
	f, err := openContentOf(core, ids)
	if err != nil {
		return err
	}
	defer f.Close()
	pages, err := k.Header.Pages(f)
	if err != nil { // flattened: the pages are not counted in one place
		return nil
	}
	size := int64(min(pages*uint64(k.Header.BlockSize)+headers, math.MaxInt64))
	return roomFor(dir, size, "an ELF core for gdb", "Set TMPDIR to a directory with more room, or use crash or drgn.")
}

// vmcore returns the absolute path of the vmcore that name stands for: of a dump, or a file.
func (c *ctl) vmcore(dir, name string) (string, error) {
	d, file, err := c.dumpOrFile(dir, name)
	if err != nil {
		return "", err
	}
	if file != "" {
		return filepath.Abs(file)
	}
	if d.Vmcore == "" {
		return "", advice.With(fmt.Errorf("dump %s: no vmcore in it", d.Name), "kdumpctl info "+d.Name+" shows why.")
	}
	return filepath.Abs(d.Vmcore)
}

// dumpOrFile returns the dump that name stands for, or file, the name of a vmcore. A name
// without a slash is a file only if it is no dump, so nobody can put a file in place of a dump.
func (c *ctl) dumpOrFile(dir, name string) (d crashdir.Dump, file string, err error) {
	fi, missing := os.Stat(name)
	isFile := missing == nil && !fi.IsDir()
	if isFile && fi.Mode()&(fs.ModeNamedPipe|fs.ModeSocket) != 0 {
		// Opening a FIFO would wait for its writer, and a dump is not read in order.
		return d, "", advice.With(fmt.Errorf("%s: a pipe or socket, not a file", name), "Save the vmcore to a file first.")
	}
	if isFile && strings.Contains(name, "/") {
		return d, name, nil
	}
	if d, err = c.findDump(dir, name); err != nil && isFile {
		return d, name, nil
	}
	return d, "", err
}

// downloadLimit bounds the download of the debug information of a kernel, about 1 GB.
const downloadLimit = 30 * time.Minute

// vmlinux returns the kernel with debug information for a dump.
func (c *ctl) vmlinux(k debug.Kernel, given string) (debug.Found, error) {
	f := debug.Finder{Root: c.root}
	if given != "" {
		abs, err := filepath.Abs(given)
		if err != nil {
			return debug.Found{}, err
		}
		return f.Find(k, abs)
	}
	f.Download = func(id string) (string, error) {
		program, err := c.lookPath("debuginfod-find")
		d := debug.Debuginfod{Root: c.root, Program: program, Limit: downloadLimit}
		urls := d.URLs()
		if err != nil || urls == "" {
			return "", nil
		}
		if stderr, ok := c.Stderr.(*os.File); ok && cli.IsTerminal(stderr) {
			d.Progress = true // its own
			fmt.Fprintf(stderr, "%s: asking %s for build ID %s\n", c.Name, cli.Clean(urls), id)
			return d.Find(id)
		}
		task := c.Begin("asking %s for build ID %s", urls, id)
		defer task.End()
		return d.Find(id)
	}
	return f.Find(k, "")
}
