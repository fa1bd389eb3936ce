package squeeze

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"strings"

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

Compress the uncompressed flattened dump of "makedumpfile -F" from standard input and
write a kdump-compressed dump to OUTPUT, or a flattened one to standard output.

  -c COMPRESSION  %s (default lzo)
  -j WORKERS      number of pages that are compressed at a time (default: number of CPUs)
  -q              no progress
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
	err := f.Parse(args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		fmt.Fprintf(stdout, usage, strings.Join(Compressions, ", "))
		return exitDone
	case err != nil:
	case f.NArg() > 1:
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
	unix.FcntlInt(stdin.Fd(), unix.F_SETPIPE_SZ, pipeSize) // fails if it is no pipe
	if f.NArg() == 0 {
		err = toStream(stdin, stdout, o)
	} else {
		err = toFile(stdin, f.Arg(0), o)
	}
	if err != nil {
		fmt.Fprintf(stderr, "\nukdump-compress: %v\n", err)
		return exitFailed
	}
	return exitDone
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
