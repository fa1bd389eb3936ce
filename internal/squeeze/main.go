package squeeze

import (
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

const usage = `usage: ukdump-compress [-c COMPRESSION] [-j WORKERS] [-q] [OUTPUT]
       ukdump-compress [-c COMPRESSION] [-j WORKERS] [-q] [-o OUTPUT] -x COMMAND ARGUMENT...

Compress the uncompressed flattened dump of "makedumpfile -F" from standard input, or
from the standard output of COMMAND, and write a kdump-compressed dump to OUTPUT, or a
flattened one to standard output.

  -c COMPRESSION  %s (default lzo)
  -j WORKERS      number of pages that are compressed at a time (default: number of CPUs)
  -q              no progress
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
	// A worker that sleeps in a system call keeps its place for a while.
	runtime.GOMAXPROCS(o.Workers + 1)
	name := f.Arg(0)
	finish := func() error { return nil }
	if *execute {
		name = *output
		if stdin, finish, err = runCommand(f.Args(), stderr); err != nil {
			fmt.Fprintf(stderr, "ukdump-compress: %v\n", err)
			return exitFailed
		}
	}
	unix.FcntlInt(stdin.Fd(), unix.F_SETPIPE_SZ, pipeSize) // fails if it is no pipe
	if name == "" {
		err = toStream(stdin, stdout, o)
	} else {
		err = toFile(stdin, name, o)
	}
	if *execute {
		stdin.Close() // it may still write
		// Its error is the cause of any other.
		if ferr := finish(); ferr != nil {
			err = ferr
		}
	}
	if err != nil {
		fmt.Fprintf(stderr, "\nukdump-compress: %v\n", err)
		return exitFailed
	}
	return exitDone
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
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
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
