package kexec

import (
	"encoding/binary"
	"io"
	"os"
)

// x86 boot protocol, Documentation/arch/x86/boot.rst: offsets in the file.
const (
	x86Magic       = 0x202 // "HdrS"
	x86CmdlineSize = 0x238 // longest command line without its NUL
	x86InitSize    = 0x260 // bytes of memory that the kernel needs to unpack itself
)

// arm64 image header, Documentation/arch/arm64/booting.rst.
const (
	arm64ImageSize = 16 // bytes of memory that the kernel needs
	arm64Magic     = 56 // "ARM\x64"
)

const (
	// commandLineSize is COMMAND_LINE_SIZE of x86 and arm64, with the NUL.
	commandLineSize = 2048
	// appended is the room for what kexec_file_load appends: elfcorehdr= and,
	// for encrypted disks, dmcryptkeys= (arch/x86/kernel/kexec-bzimage64.c).
	appended = 30 + 31
)

// CommandLineLimit returns how many bytes, without a NUL, the command line for
// kernel can have when it is loaded as a capture kernel.
func CommandLineLimit(kernel io.ReaderAt) int {
	limit := commandLineSize - 1
	if h := header(kernel); isX86(h) {
		if n := binary.LittleEndian.Uint32(h[x86CmdlineSize:]); n > appended && n < commandLineSize {
			limit = int(n)
		}
	}
	return limit - appended - 1 // the kernel counts the NUL
}

// need returns how many bytes of the reservation the capture kernel takes until
// it has unpacked its image: the kernel with its working space, the image packed
// and unpacked, the ELF header of the dump. It needs more than that to run.
func (s *Slot) need(kernel, initrd *os.File, unpacked int64) (int64, error) {
	sum := unpacked
	for _, f := range []*os.File{kernel, initrd} {
		info, err := f.Stat()
		if err != nil {
			return 0, err
		}
		size := info.Size()
		if f == kernel {
			size = max(size, memorySize(f))
		}
		sum += size
	}
	if n, err := s.sysfs("crash_elfcorehdr_size", "crash_elfcorehdr_size"); err == nil {
		sum += n
	}
	return sum, nil
}

// memorySize returns the size that the kernel's header asks for, 0 if it has none.
func memorySize(kernel io.ReaderAt) int64 {
	h := header(kernel)
	switch {
	case isX86(h):
		return int64(binary.LittleEndian.Uint32(h[x86InitSize:]))
	case string(h[arm64Magic:arm64Magic+4]) == "ARM\x64":
		if n := binary.LittleEndian.Uint64(h[arm64ImageSize:]); n < 1<<32 {
			return int64(n)
		}
	}
	return 0
}

func header(kernel io.ReaderAt) []byte {
	h := make([]byte, x86InitSize+4)
	if n, _ := kernel.ReadAt(h, 0); n < len(h) {
		clear(h) // too short for any kernel
	}
	return h
}

func isX86(h []byte) bool { return string(h[x86Magic:x86Magic+4]) == "HdrS" }
