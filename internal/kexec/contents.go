package kexec

import (
	"bytes"
	"crypto/sha256"
	"debug/elf"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"ukdump/internal/vmcore"
)

// Piece is a part of the loaded set in the reserved memory.
type Piece struct {
	Part    string `json:"part"`    // one of those below
	Address uint64 `json:"address"` // physical
	Bytes   int64  `json:"bytes"`   // that are compared
	SHA256  string `json:"sha256"`
}

// The parts.
const (
	ImagePart   = "image"
	KernelPart  = "kernel"
	CmdlinePart = "command line"
)

const (
	pageSize = 4096
	// maxPiece bounds the bytes of a part that are compared: the beginning is enough to
	// find that something else was written there.
	maxPiece = 16 << 20
	// locateLimit bounds the search in the reserved memory.
	locateLimit = 5 * time.Second
)

// elfcorehdr begins the command line that the kernel of x86 makes of ours
// (setup_cmdline in arch/x86/kernel/kexec-bzimage64.c).
const elfcorehdr = "elfcorehdr=0x"

// Content is what is compared of a file that was handed to the kernel: the first maxPiece
// bytes. The zero value is nothing.
type Content struct {
	first  []byte // the first page at most
	bytes  int64
	sha256 string
}

// ReadContent reads f from an offset. It keeps the first page only. The error is that of f.
func ReadContent(f io.ReaderAt, from int64) (Content, error) {
	h, r := sha256.New(), io.NewSectionReader(f, from, maxPiece)
	n, err := io.Copy(h, r)
	if err != nil {
		return Content{}, err
	}
	first := make([]byte, min(n, pageSize))
	if _, err := io.ReadFull(io.NewSectionReader(f, from, maxPiece), first); err != nil {
		return Content{}, err
	}
	return Content{first, n, hex.EncodeToString(h.Sum(nil))}, nil
}

// Locate finds the parts of a set that was just loaded in the reserved memory, which
// root can read in proc_kcore(5). Each begins on a page of its own (kexec_add_buffer in
// kernel/kexec_file.c, place). kernel is the part of the kernel's file that is copied as it
// is, see Kernel.Copied.
//
// It returns only the parts that the kernel shows, nil if there are none: some arm64
// kernels unmap the memory after a load, kernel_lockdown(7) with confidentiality hides it,
// and with memory encryption it shows other bytes.
func (s *Slot) Locate(kernel, image Content, cmdline string) []Piece {
	r, ok := s.loadedRange()
	if !ok {
		return nil
	}
	m, err := s.openKcore()
	if err != nil {
		return nil
	}
	defer m.close()
	files := map[string]Content{ImagePart: image, KernelPart: kernel}
	var pieces []Piece
	buf := make([]byte, 1<<20)
	// The kernel fills the reservation from its end.
	for end, begin := r.End+1, time.Now(); end > r.Start && len(pieces) < 3 && time.Since(begin) < locateLimit; {
		at := max(r.Start, end-min(end, uint64(len(buf))))
		chunk := buf[:end-at]
		end = at
		if m.readAt(chunk, at) != nil {
			continue
		}
		for off := 0; off+pageSize <= len(chunk); off += pageSize {
			pieces = m.match(pieces, files, cmdline, chunk[off:off+pageSize], at+uint64(off))
		}
	}
	return pieces
}

// match adds the part that begins with page.
func (m *kcore) match(pieces []Piece, files map[string]Content, cmdline string, page []byte, at uint64) []Piece {
	for part, c := range files {
		if c.bytes == 0 || has(pieces, part) || !bytes.HasPrefix(page, c.first) {
			continue
		}
		p := Piece{part, at, c.bytes, c.sha256}
		if now, err := m.sum(p); err == nil && now == p.SHA256 {
			return append(pieces, p)
		}
	}
	switch {
	case cmdline == "" || has(pieces, CmdlinePart):
		return pieces
	case bytes.HasPrefix(page, []byte(treeMagic)):
		return m.matchTree(pieces, cmdline, page, at)
	case !bytes.HasPrefix(page, []byte(elfcorehdr)):
		return pieces
	}
	if i := bytes.Index(page, append([]byte(" "+cmdline), 0)); i > 0 {
		text := page[:i+1+len(cmdline)+1]
		return append(pieces, Piece{CmdlinePart, at, int64(len(text)), sum(text)})
	}
	return pieces
}

// treeMagic begins a device tree, and its size in bytes follows (Devicetree Specification
// 0.4, 5.2). A capture kernel of arm64 has its command line there.
const treeMagic = "\xd0\x0d\xfe\xed"

// matchTree adds the device tree that begins with page if it has that command line.
func (m *kcore) matchTree(pieces []Piece, cmdline string, page []byte, at uint64) []Piece {
	size := binary.BigEndian.Uint32(page[len(treeMagic):])
	if size > maxTree {
		return pieces
	}
	tree := make([]byte, size)
	if m.readAt(tree, at) != nil || !bytes.Contains(tree, append([]byte(cmdline), 0)) {
		return pieces
	}
	return append(pieces, Piece{CmdlinePart, at, int64(size), sum(tree)})
}

func has(pieces []Piece, part string) bool {
	for _, p := range pieces {
		if p.Part == part {
			return true
		}
	}
	return false
}

// Overwritten returns the part that is not in the reserved memory any more, because
// something else was loaded over it; "" if all are there. The error says that the
// memory cannot be read.
func (s *Slot) Overwritten(pieces []Piece) (part string, err error) {
	m, err := s.openKcore()
	if err != nil {
		return "", err
	}
	defer m.close()
	for _, p := range pieces {
		now, err := m.sum(p)
		if err != nil {
			return "", err
		}
		if now != p.SHA256 {
			return p.Part, nil
		}
	}
	return "", nil
}

// loadedRange returns the range that kexec loads into: the last of those reserved
// (kernel/crash_reserve.c). Only root sees its addresses.
func (s *Slot) loadedRange() (r Range, ok bool) {
	for _, c := range s.crashRanges() {
		if c.Start%pageSize == 0 && (c.End+1)%pageSize == 0 {
			r, ok = c, true
		}
	}
	return r, ok
}

// kcore is the physical memory as /proc/kcore shows it.
type kcore struct {
	f     *os.File
	loads []*elf.Prog
}

func (s *Slot) openKcore() (*kcore, error) {
	f, err := os.Open(filepath.Join(s.Root, "proc/kcore"))
	if err != nil {
		return nil, err
	}
	core, err := elf.NewFile(f)
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("/proc/kcore: %w", err)
	}
	m := &kcore{f: f}
	for _, p := range core.Progs {
		// Before Linux 4.11 no segment had a physical address, and now those of
		// vmalloc have none (fs/proc/kcore.c).
		if p.Type == elf.PT_LOAD && p.Paddr != ^uint64(0) && (p.Paddr != 0 || p.Filesz < 1<<32) {
			m.loads = append(m.loads, p)
		}
	}
	return m, nil
}

func (m *kcore) close() { m.f.Close() }

// info returns VMCOREINFO of the running kernel, empty before Linux 4.19 (fs/proc/kcore.c).
func (m *kcore) info() vmcore.Info {
	core, err := vmcore.Open(m.f)
	if err != nil {
		return vmcore.Info{}
	}
	return core.Info
}

// Info returns VMCOREINFO of the running kernel, empty if /proc/kcore cannot be read or
// does not have it.
func (s *Slot) Info() vmcore.Info {
	m, err := s.openKcore()
	if err != nil {
		return vmcore.Info{}
	}
	defer m.close()
	return m.info()
}

// readAt fills b from a physical address.
func (m *kcore) readAt(b []byte, at uint64) error {
	for _, p := range m.loads {
		if at >= p.Paddr && at-p.Paddr < p.Filesz && p.Filesz-(at-p.Paddr) >= uint64(len(b)) {
			_, err := m.f.ReadAt(b, int64(p.Off+(at-p.Paddr)))
			return err
		}
	}
	return fmt.Errorf("/proc/kcore does not have the address %#x", at)
}

// sum returns the checksum of the bytes that are now where a piece was.
func (m *kcore) sum(p Piece) (string, error) {
	if p.Bytes <= 0 || p.Bytes > maxPiece {
		return "", fmt.Errorf("a part of %d bytes", p.Bytes)
	}
	h := sha256.New()
	buf := make([]byte, 256<<10)
	for done := int64(0); done < p.Bytes; {
		chunk := buf[:min(int64(len(buf)), p.Bytes-done)]
		if err := m.readAt(chunk, p.Address+uint64(done)); err != nil {
			return "", err
		}
		h.Write(chunk)
		done += int64(len(chunk))
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

func sum(data []byte) string {
	h := sha256.Sum256(data)
	return hex.EncodeToString(h[:])
}
