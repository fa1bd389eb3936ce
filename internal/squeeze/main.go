package squeeze

import (
	"cmp"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// Exit statuses.
const (
	exitDone   = 0
	exitFailed = 1
	exitUsage  = 2
)

// pipeSize is the size in bytes that the pipe from makedumpfile(8) gets: it works ahead while
// all workers compress. This is the limit for users in fs/pipe.c.
const pipeSize = 1 << 20

const usage = `usage: ukdump-compress [-c COMPRESSION] [-j WORKERS] [-q] [-r VMCORE] [OUTPUT]
       ukdump-compress [-c COMPRESSION] [-j WORKERS] [-q] [-r VMCORE] [-o OUTPUT] -x COMMAND ARGUMENT...

Compress the uncompressed flattened dump of "makedumpfile -F" from standard input, or
from the standard output of COMMAND, and write a kdump-compressed dump to OUTPUT, or a
flattened one to standard output.

  -c COMPRESSION  %s (default lzo)
  -j WORKERS      number of pages that are compressed at a time (default and most: number of CPUs)
  -q              no progress
  -r VMCORE       read the pages from VMCORE, and only their bitmap from the stream
  -o OUTPUT       the file, with -x
  -x              run COMMAND; its failure is one of ukdump-compress
`

// Main is the program ukdump-compress. It returns the exit status: 0 if the whole dump was
// written, and to the disk if OUTPUT is a file.
func Main(args []string, stdin, stdout *os.File, stderr io.Writer) int {
	o := Options{Progress: stderr}
	f := flag.NewFlagSet("ukdump-compress", flag.ContinueOnError)
	f.SetOutput(io.Discard)
	f.StringVar(&o.Compression, "c", "lzo", "")
	f.IntVar(&o.Workers, "j", runtime.NumCPU(), "")
	quiet := f.Bool("q", false, "")
	output := f.String("o", "", "")
	execute := f.Bool("x", false, "")
	core := f.String("r", "", "")
	err := f.Parse(args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		fmt.Fprintf(stdout, usage, strings.Join(Compressions, ", "))
		return exitDone
	case err != nil:
	case *execute && f.NArg() == 0:
		err = errors.New("-x without a command")
	case !*execute && *output != "":
		err = errors.New("-o without -x")
	case !*execute && f.NArg() > 1:
		err = fmt.Errorf("unexpected argument %q", f.Arg(1))
	case !slices.Contains(Compressions, o.Compression):
		err = fmt.Errorf("unknown compression %q", o.Compression)
	case o.Workers < 1 || o.Workers > MaxWorkers:
		err = fmt.Errorf("%d workers, not 1 to %d", o.Workers, MaxWorkers)
	}
	if err != nil {
		fmt.Fprintf(stderr, "ukdump-compress: %v: see ukdump-compress -h\n", err)
		return exitUsage
	}
	if *quiet {
		o.Progress = nil
	}
	// The capture kernel may have got fewer: that of a crash cannot start the one that booted
	// the machine (disable_cpu_apicid in admin-guide/kdump/kdump.rst).
	o.Workers = min(o.Workers, runtime.NumCPU())
	// A worker that sleeps in a system call keeps its place for a while.
	runtime.GOMAXPROCS(o.Workers + 1)
	if *execute {
		err = compressCommand(f.Args(), stdout, stderr, *core, *output, o)
	} else {
		_, err = compress(stdin, stdout, stderr, *core, f.Arg(0), o)
	}
	if err != nil {
		fmt.Fprintf(stderr, "\nukdump-compress: %v\n", err)
		return exitFailed
	}
	return exitDone
}

// compressCommand compresses the standard output of a command, whose failure is one, too.
func compressCommand(argv []string, stdout *os.File, stderr io.Writer, core, output string, o Options) error {
	in, finish, err := runCommand(argv, stderr)
	if err != nil {
		return err
	}
	direct, err := compress(in, stdout, stderr, core, output, o)
	in.Close() // it may still write
	ferr := finish()
	if err == nil && direct {
		return nil // makedumpfile(8) ended by SIGPIPE
	}
	return cmp.Or(ferr, err) // the command's error is the cause of any other
}

// compress does the work. core and output are names of files, or empty. It reports whether
// the stream was not read to its end because the pages came from the core.
func compress(in, stdout *os.File, stderr io.Writer, core, output string, o Options) (direct bool, err error) {
	if core == "" {
		unix.FcntlInt(in.Fd(), unix.F_SETPIPE_SZ, pipeSize) // fails if it is no pipe
	} else {
		f, err := os.Open(core)
		if err != nil {
			return false, err
		}
		defer f.Close()
		if o.Core, err = NewCore(f); err != nil {
			return false, err
		}
	}
	if output == "" {
		err = toStream(in, stdout, o)
	} else {
		err = toFile(in, output, o)
	}
	if o.Core != nil && o.Core.unmapped > 0 {
		fmt.Fprintf(stderr, "ukdump-compress: %d parts of %s could not be mapped: to read them takes longer\n", o.Core.unmapped, core)
	}
	return o.Core != nil && o.Core.used, err
}

// runCommand starts a command and returns its standard output, and a function that waits for
// its end. The command ends with this process.
func runCommand(argv []string, stderr io.Writer) (*os.File, func() error, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, nil, err
	}
	defer w.Close()
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Stdout, cmd.Stderr = w, stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	// The signal comes when the thread ends that has started it, see prctl(2).
	runtime.LockOSThread()
	if err := cmd.Start(); err != nil {
		r.Close()
		return nil, nil, err
	}
	return r, func() error {
		if err := cmd.Wait(); err != nil {
			return fmt.Errorf("%s: %w", argv[0], err)
		}
		return nil
	}, nil
}

// toFile writes to a file, which it replaces.
func toFile(in io.Reader, name string, o Options) error {
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	err = Run(in, NewFile(f), o)
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	return err
}

// toStream writes a flattened stream.
func toStream(in io.Reader, stdout *os.File, o Options) error {
	out, err := NewFlattened(stdout)
	if err != nil {
		return err
	}
	if err := Run(in, out, o); err != nil {
		return err
	}
	// Standard output is a pipe, a socket or a file.
	if err := stdout.Sync(); err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.EROFS) && !errors.Is(err, unix.ENOTSUP) {
		return err
	}
	return nil
}
