package kexec

import (
	"math"
	"os"
)

// Kernel is a kernel to load. The facts about its image have the names that they have
// in kimage.Image.
type Kernel struct {
	File *os.File // the argument of kexec_file_load
	// InitSize is how much memory in bytes the kernel asks for until it manages
	// memory itself; 0 if it does not say.
	InitSize uint64
	// CmdlineSize is the longest command line in bytes, without the NUL, that the
	// kernel takes; 0 if it does not say.
	CmdlineSize int
	// PageSize is the size of its pages in bytes; 0 if it does not say.
	PageSize int
	// SetupSize is how many bytes of a bzImage lie before the part that is copied as it
	// is into the reserved memory (Documentation/arch/x86/boot.rst); 0 if no part is.
	SetupSize int
	// Signed reports whether the file has a signature for Secure Boot, by any signer.
	Signed bool
}

// Copied returns where the part of the file begins that is copied as it is into the
// reserved memory of a machine of that GOARCH. ok says that there is one.
func (k *Kernel) Copied(arch string) (from int64, ok bool) {
	return int64(k.SetupSize), k.SetupSize > 0 || arch == "arm64"
}

const (
	// commandLineSize is COMMAND_LINE_SIZE of x86 and arm64, with the NUL.
	commandLineSize = 2048
	// appended is the room for the words that kexec_file_load appends: elfcorehdr= and,
	// for encrypted disks, dmcryptkeys= (arch/x86/kernel/kexec-bzimage64.c).
	appended = 30 + 31
)

// CommandLineLimit returns the longest command line in bytes, without the NUL,
// that k can be given as a capture kernel.
func (k *Kernel) CommandLineLimit() int {
	limit := commandLineSize - 1
	if k.CmdlineSize > appended && k.CmdlineSize < commandLineSize {
		limit = k.CmdlineSize
	}
	return limit - appended - 1 // the kernel counts the NUL
}

// need returns how many bytes the capture kernel needs in the range that it is loaded
// into: the kernel with its working space, the packed image, the ELF header of the dump.
func (s *Slot) need(kernel, packed int64) int64 {
	sum := kernel + packed
	if n, err := s.sysfs("crash_elfcorehdr_size", "crash_elfcorehdr_size"); err == nil {
		sum += n
	}
	return sum
}

// StartSize returns how many bytes a kernel takes to start, from its InitSize and the
// size of its file.
func StartSize(initSize uint64, file int64) int64 {
	if initSize > math.MaxUint32 { // nonsense in a header
		return file
	}
	return max(file, int64(initSize))
}
