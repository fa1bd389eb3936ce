// Ukdump-compress compresses a dump with several CPUs while makedumpfile(8) writes it.
//
// Synopsis:
//
//	makedumpfile -F -d LEVEL VMCORE | ukdump-compress [-c COMPRESSION] [-j WORKERS] [-q] [-r VMCORE] [OUTPUT]
//	ukdump-compress [-c COMPRESSION] [-j WORKERS] [-q] [-r VMCORE] [-o OUTPUT] -x makedumpfile -F -d LEVEL VMCORE
//
// It reads a flattened dump without compression from standard input and writes the same
// dump with pages compressed by lzo, snappy, zlib or zstd: as a kdump-compressed dump to
// OUTPUT, which it replaces, or as a flattened dump to standard output. Progress goes to
// standard error in the words of makedumpfile(8).
//
// With -r, it takes only the headers and the bitmap from the stream, closes that, and reads
// the pages in the bitmap from VMCORE. That needs much less CPU, as no page goes through the
// pipe. makedumpfile(8) then ends by SIGPIPE. Its options --config and --eppic have no effect
// on those pages, so they and -r exclude each other.
//
// The exit status is 0 if the input was whole and all of the output was written, and
// written back to the disk if it is a file. It is 1 after an error, and 2 if the
// arguments are wrong. A file that was not finished keeps the mark of an incomplete dump
// in its header, a stream has no end mark. The status of makedumpfile(8) counts, too: with
// -x ukdump-compress looks at it, else the caller must.
package main

import (
	"os"

	"ukdump/internal/squeeze"
)

func main() { os.Exit(squeeze.Main(os.Args[1:], os.Stdin, os.Stdout, os.Stderr)) }
