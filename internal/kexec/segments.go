package kexec

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Segment is a piece of the reserved memory that kexec_load(2) fills (struct
// kexec_segment of include/uapi/linux/kexec.h).
type Segment struct {
	Data    []byte // its first bytes, the others are zeros
	Address uint64 // physical, a multiple of segmentAlign
	Size    uint64 // bytes, a multiple of segmentAlign
}

const (
	// segmentAlign is the largest page of arm64: kexec_load takes whole pages
	// (sanity_check_segment_list in kernel/kexec_core.c).
	segmentAlign = 64 << 10
	// kernelAlign is what an Image is aligned to, and the place of its magic in it
	// (Documentation/arch/arm64/booting.rst).
	kernelAlign, imageMagicAt, imageHeaderSize = 2 << 20, 56, 64
	imageMagic                                 = "ARM\x64"
)

// layout places segments in the reserved memory, one behind the other.
type layout struct {
	list      []Segment
	next, end uint64 // first free address, first behind the memory
}

// add places data in size bytes of memory or more, and returns their address.
func (l *layout) add(data []byte, size, align, offset uint64) (uint64, error) {
	at := roundUp(l.next, align) + offset
	size = roundUp(max(size, uint64(len(data))), segmentAlign)
	if at%segmentAlign != 0 || at < l.next || at > l.end || size > l.end-at {
		return 0, unix.EADDRNOTAVAIL
	}
	l.list = append(l.list, Segment{data, at, size})
	l.next = at + size
	return at, nil
}

func roundUp(n, align uint64) uint64 { return (n + align - 1) / align * align }

// loadSegments loads kernel and initrd of arm64 with kexec_load(2). The capture kernel
// gets its device tree and the description of the memory from here; kexec_file_load
// makes the same in the kernel (arch/arm64/kernel/machine_kexec_file.c).
func (s *Slot) loadSegments(e *Error, kernel *Kernel, initrd *os.File, cmdline string) error {
	if s.segmentsForbidden(e) {
		return e
	}
	image, unmapImage, err := mapFile(kernel.File)
	if err != nil {
		return s.unknown(e.Kernel, err)
	}
	defer unmapImage()
	files, unmapFiles, err := mapFile(initrd)
	if err != nil {
		return s.unknown(e.Kernel, err)
	}
	defer unmapFiles()
	list, entry, err := s.place(image, files, kernel.InitSize, cmdline)
	if errors.Is(err, unix.EADDRNOTAVAIL) {
		e.Err = err
		s.explain(e, kernel, initrd)
		return e
	}
	if err != nil {
		e.Cause, e.Detail, e.Err = Undescribed, err.Error(), nil
		return e
	}
	e.Err = s.retry(func() error { return s.SegmentLoad(entry, list, unix.KEXEC_ON_CRASH) })
	if e.Err == nil {
		return nil
	}
	s.explain(e, kernel, initrd)
	return e
}

// place returns the segments of a capture kernel, and the address of its first
// instruction. EADDRNOTAVAIL says that they do not fit.
func (s *Slot) place(image, initrd []byte, initSize uint64, cmdline string) (list []Segment, entry uint64, err error) {
	reserved := s.crashRanges()
	main, ok := s.loadedRange()
	if !ok {
		return nil, 0, errors.New("/proc/iomem has no address of the reserved memory")
	}
	if len(image) < imageHeaderSize || string(image[imageMagicAt:imageMagicAt+len(imageMagic)]) != imageMagic {
		return nil, 0, errors.New("the kernel is not an arm64 Image")
	}
	textOffset := binary.LittleEndian.Uint64(image[8:])
	if textOffset >= kernelAlign {
		return nil, 0, fmt.Errorf("the kernel wants to be at the offset %#x", textOffset)
	}
	header, err := s.elfHeader(reserved)
	if err != nil {
		return nil, 0, err
	}
	tree, err := readTree(filepath.Join(s.Root, "sys/firmware/fdt"))
	if err != nil {
		return nil, 0, err
	}
	l := &layout{next: main.Start, end: main.End + 1}
	kernelAt, err := l.add(image, min(initSize, l.end), kernelAlign, textOffset)
	if err != nil {
		return nil, 0, err
	}
	// It must be near the kernel (booting.rst).
	initrdAt, err := l.add(initrd, 0, segmentAlign, 0)
	if err != nil {
		return nil, 0, err
	}
	headerAt, err := l.add(header, 0, segmentAlign, 0)
	if err != nil {
		return nil, 0, err
	}
	low := reserved[:len(reserved)-1]
	dtb, err := tree.forCapture(cmdline, span{initrdAt, uint64(len(initrd))}, span{headerAt, uint64(len(header))}, append([]Range{main}, low...))
	if err != nil {
		return nil, 0, err
	}
	treeAt, err := l.add(dtb, 0, segmentAlign, 0)
	if err != nil {
		return nil, 0, err
	}
	entry, err = l.add(jump(kernelAt, treeAt), 0, segmentAlign, 0)
	return l.list, entry, err
}

// jump returns the code that starts a kernel with the address of its device tree in
// x0, and 0 in x1 to x3 (booting.rst).
func jump(kernel, tree uint64) []byte {
	var code []byte
	for _, word := range []uint32{
		0x580000c0, // ldr x0, tree, which is 24 bytes from here
		0x580000e4, // ldr x4, kernel, 28 bytes from here
		0xaa1f03e1, // mov x1, xzr
		0xaa1f03e2, // mov x2, xzr
		0xaa1f03e3, // mov x3, xzr
		0xd61f0080, // br x4
	} {
		code = binary.LittleEndian.AppendUint32(code, word)
	}
	code = binary.LittleEndian.AppendUint64(code, tree)
	return binary.LittleEndian.AppendUint64(code, kernel)
}

// mapFile maps a file, which takes no memory of its own if the file is in memory. An
// empty file gives nil.
func mapFile(f *os.File) (data []byte, unmap func(), err error) {
	info, err := f.Stat()
	if err != nil || info.Size() == 0 {
		return nil, func() {}, err
	}
	data, err = unix.Mmap(int(f.Fd()), 0, int(info.Size()), unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		return nil, nil, fmt.Errorf("map %s: %w", f.Name(), err)
	}
	return data, func() { unix.Munmap(data) }, nil
}

// segmentLoad is kexec_load(2). Without segments it empties the slot.
func segmentLoad(entry uint64, list []Segment, flags int) error {
	// struct kexec_segment: buf, bufsz, mem, memsz.
	type segment struct {
		data    unsafe.Pointer
		length  uint64
		address uint64
		size    uint64
	}
	args := make([]segment, len(list))
	for i, g := range list {
		args[i] = segment{unsafe.Pointer(unsafe.SliceData(g.Data)), uint64(len(g.Data)), g.Address, g.Size}
	}
	_, _, errno := unix.Syscall6(unix.SYS_KEXEC_LOAD, uintptr(entry), uintptr(len(args)),
		uintptr(unsafe.Pointer(unsafe.SliceData(args))), uintptr(flags), 0, 0)
	if errno != 0 {
		return errno
	}
	return nil
}
