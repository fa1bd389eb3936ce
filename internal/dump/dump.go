// Package dump reads the memory of a crashed kernel from a dump file, by physical or
// virtual addresses. It knows the files of makedumpfile(8), copies of /proc/vmcore, raw
// dumps, and the dumps of virtual machines by QEMU and libvirt.
//
//	ReadVirt(p, addr)    page tables of the kernel, in the dump itself
//	  └ ReadPhys         cache of unpacked pages
//	      ├ kdump        bitmap → page descriptor → decompressor
//	      │  └ flat      records of a flattened file
//	      └ elf          PT_LOAD segments
//
// Every byte of a dump is untrusted, and the memory for reading does not grow with it.
package dump

import (
	"errors"
	"fmt"
	"io"
	"os"
	"sync"

	"ukdump/internal/dumpfile"
	"ukdump/internal/rawdump"
	"ukdump/internal/vmcore"
)

// Dump is an open dump. Its methods may be called concurrently.
type Dump struct {
	header dumpfile.Header
	info   vmcore.Info
	cpus   []Registers
	mem    memory
	files  []io.Closer

	// blockSize is the unit in which mem is read.
	blockSize uint64

	mu    sync.Mutex // for the fields below, and for mem
	cache cache
	space space
}

// memory is the physical memory in a dump. It is not safe for concurrent use.
type memory interface {
	// readBlock fills p, a block of memory at the physical address addr. The error is one
	// of those of ReadPhys.
	readBlock(p []byte, addr uint64) error
	// next returns the address of the first block at or behind addr that the dump has.
	next(addr uint64) (uint64, bool)
	// end returns the address behind the last byte of memory.
	end() uint64
}

// Open opens the dump in a file or on a device. If it is a part of a split dump, the
// others are looked for in the same directory.
func Open(name string) (*Dump, error) {
	d, err := openFile(name)
	if err != nil {
		return nil, fmt.Errorf("open dump %s: %w", name, err)
	}
	return d, nil
}

func openFile(name string) (*Dump, error) {
	var parts opened
	err := parts.open(name)
	if err == nil && parts.sources[0].header.Layout().Split {
		parts.addSiblings(name)
	}
	var d *Dump
	if err == nil {
		d, err = parts.dump()
	}
	if err != nil {
		parts.close()
		return nil, err
	}
	return d, nil
}

// openSized opens a file, or a device, and returns its size in bytes.
func openSized(name string) (*os.File, int64, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, 0, errors.Unwrap(err)
	}
	size, err := f.Seek(0, io.SeekEnd)
	if err == nil {
		var fi os.FileInfo
		if fi, err = f.Stat(); err == nil && fi.IsDir() {
			err = errors.New("is a directory")
		}
	}
	if err != nil {
		f.Close()
		return nil, 0, err
	}
	return f, size, nil
}

// New opens the dump in the size bytes of r.
func New(r io.ReaderAt, size int64) (*Dump, error) {
	src, err := openSource(r, size)
	if err != nil {
		return nil, err
	}
	return newDump([]source{src})
}

func newDump(parts []source) (*Dump, error) {
	if isELF(parts[0].header) {
		return newELF(parts[0])
	}
	return newKdump(parts)
}

// Close closes the files that Open opened.
func (d *Dump) Close() error {
	var err error
	for _, f := range d.files {
		err = errors.Join(err, f.Close())
	}
	return err
}

// AlsoClose has Close close a file, too, from which New reads.
func (d *Dump) AlsoClose(file io.Closer) { d.files = append(d.files, file) }

// Info returns VMCOREINFO. It is empty if the dump lacks the note and the text was not
// found in the memory either.
func (d *Dump) Info() vmcore.Info { return d.info }

// Header returns the header of the file.
func (d *Dump) Header() dumpfile.Header { return d.header }

// Machine returns the GOARCH name of the crashed machine: amd64 or arm64.
func (d *Dump) Machine() string { return d.header.Machine }

// CPUs returns the registers of each CPU that the kernel saved, in the order of the notes.
func (d *Dump) CPUs() []Registers { return d.cpus }

// MemoryEnd returns the physical address at which the memory of the machine ends, in
// bytes.
func (d *Dump) MemoryEnd() uint64 { return d.mem.end() }

// PageSize returns the page size of the crashed kernel in bytes.
func (d *Dump) PageSize() int {
	n := d.info.PageSize()
	if n == 0 {
		n = int64(d.header.BlockSize) // QEMU's differs on arm64
	}
	if n < 4096 || n > 64<<10 || n&(n-1) != 0 {
		return 4096
	}
	return int(n)
}

// source is one file that has a dump, or a part of a split one.
type source struct {
	header dumpfile.Header
	r      io.ReaderAt
	size   int64 // in bytes
}

// openSource reads the header, through the layers around a dump.
func openSource(r io.ReaderAt, size int64) (source, error) {
	if raw, err := rawdump.Open(r, size); err == nil {
		s := raw.Stream
		r, size = io.NewSectionReader(r, s.Start, s.Length), s.Length
	}
	h, err := dumpfile.ReadHeader(r)
	if err != nil {
		return source{}, err
	}
	if h.Format == dumpfile.Flattened {
		flat, err := newFlat(r, size)
		if err != nil {
			return source{}, err
		}
		if h, err = dumpfile.ReadHeader(flat); err != nil {
			return source{}, err
		}
		h.Format = dumpfile.Flattened
		h.Complete = h.Complete && flat.whole
		r, size = flat, flat.size
	}
	return source{h, r, size}, nil
}

// ReadPhys fills p with the memory at the physical address addr. The error is an
// *AbsentError, *ExcludedError, *PartError or *DamagedError of the first page that cannot
// be read; the pages before it are in p then.
func (d *Dump) ReadPhys(p []byte, addr uint64) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.readPhys(p, addr)
}

func (d *Dump) readPhys(p []byte, addr uint64) error {
	for len(p) > 0 {
		in := addr % d.blockSize
		n := min(uint64(len(p)), d.blockSize-in)
		if addr+n-1 < addr {
			return &AbsentError{addr}
		}
		b, err := d.cache.get(d.mem, addr-in, int(d.blockSize))
		if err != nil {
			return at(err, addr)
		}
		copy(p[:n], b[in:])
		p, addr = p[n:], addr+n
	}
	return nil
}

// at sets the address of an error of a block to the one that was asked for.
func at(err error, addr uint64) error {
	switch e := err.(type) {
	case *AbsentError:
		e.Addr = addr
	case *ExcludedError:
		e.Addr = addr
	case *PartError:
		e.Addr = addr
	case *DamagedError:
		e.Addr = addr
	}
	return err
}
