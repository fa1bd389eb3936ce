package debug

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
)

// Vmlinux is an ELF file of a kernel.
type Vmlinux struct {
	Path    string
	Machine string // GOARCH name, "" for all but amd64 and arm64
	BuildID string // in hexadecimal, "" if it has none
	DWARF   bool   // it has debug information
	Split   bool   // it has nothing but that: the code is in another file
	Banner  string // linux_banner, read only if the build ID of the dump is not known
}

// Bounds on a vmlinux. One of today has 80 sections, notes of 1 KiB, and a table of
// symbols of 10 MiB.
const (
	maxSections = 4096
	maxNotes    = 64 << 10
	maxSymtab   = 256 << 20
	maxBanner   = 1 << 10
)

// Inspect reads the build ID of an ELF file and whether it has debug information. The
// error names the file.
func Inspect(path string) (Vmlinux, error) {
	v, err := inspect(path, false)
	if err != nil {
		return v, fmt.Errorf("%s: %w", path, err)
	}
	return v, nil
}

func inspect(path string, banner bool) (Vmlinux, error) {
	v := Vmlinux{Path: path}
	file, err := openRegular(path)
	if err != nil {
		return v, err
	}
	defer file.Close()
	return v, v.read(file, banner)
}

// read fills v from an ELF file; banner asks for the symbol, too.
func (v *Vmlinux) read(r io.ReaderAt, banner bool) error {
	f, err := elf.NewFile(r)
	if err != nil {
		return fmt.Errorf("not an ELF file: %w", err)
	}
	if f.Class != elf.ELFCLASS64 || f.Data != elf.ELFDATA2LSB || len(f.Sections) > maxSections {
		return errors.New("not the ELF file of a 64-bit little-endian kernel")
	}
	switch f.Machine {
	case elf.EM_X86_64:
		v.Machine = "amd64"
	case elf.EM_AARCH64:
		v.Machine = "arm64"
	}
	for _, s := range f.Sections {
		switch {
		case s.Type == elf.SHT_NOTE && v.BuildID == "":
			v.BuildID = noteID(s.ReaderAt, s.FileSize, s.Flags&elf.SHF_COMPRESSED == 0)
		case s.Name == ".debug_info", s.Name == ".zdebug_info":
			v.DWARF = s.Type != elf.SHT_NOBITS && s.FileSize > 0
		case s.Name == ".text":
			v.Split = s.Type == elf.SHT_NOBITS
		}
	}
	for _, p := range f.Progs {
		if p.Type == elf.PT_NOTE && v.BuildID == "" {
			v.BuildID = noteID(p.ReaderAt, p.Filesz, !v.Split)
		}
	}
	if banner {
		v.Banner = readBanner(f)
	}
	return nil
}

// noteID returns the build ID among the notes of a section: name "GNU", type
// NT_GNU_BUILD_ID (elf(5)).
func noteID(r io.ReaderAt, size uint64, readable bool) string {
	const head, gnuBuildID = 12, 3
	if !readable || size > maxNotes {
		return ""
	}
	b := make([]byte, size)
	if n, _ := r.ReadAt(b, 0); n < len(b) {
		b = b[:n]
	}
	for len(b) >= head {
		nameSize, descSize := uint64(binary.LittleEndian.Uint32(b)), uint64(binary.LittleEndian.Uint32(b[4:]))
		kind := binary.LittleEndian.Uint32(b[8:])
		desc := head + (nameSize+3)&^3
		next := desc + (descSize+3)&^3
		if desc+descSize > uint64(len(b)) {
			return ""
		}
		if kind == gnuBuildID && string(b[head:head+nameSize]) == "GNU\x00" {
			return buildID(hex.EncodeToString(b[desc : desc+descSize]))
		}
		b = b[min(next, uint64(len(b))):]
	}
	return ""
}

// readBanner returns the text of linux_banner (init/version.c), "" if it is not found.
func readBanner(f *elf.File) string {
	if s := f.SectionByType(elf.SHT_SYMTAB); s == nil || s.FileSize > maxSymtab || s.Flags&elf.SHF_COMPRESSED != 0 ||
		s.Link >= uint32(len(f.Sections)) || f.Sections[s.Link].FileSize > maxSymtab || f.Sections[s.Link].Flags&elf.SHF_COMPRESSED != 0 {
		return ""
	}
	symbols, err := f.Symbols()
	if err != nil {
		return ""
	}
	for _, sym := range symbols {
		if sym.Name != "linux_banner" || int(sym.Section) >= len(f.Sections) {
			continue
		}
		s := f.Sections[sym.Section]
		if s.Type == elf.SHT_NOBITS || s.Flags&elf.SHF_COMPRESSED != 0 || sym.Value < s.Addr || sym.Value-s.Addr >= s.FileSize {
			return ""
		}
		b := make([]byte, maxBanner)
		n, _ := s.ReaderAt.ReadAt(b, int64(sym.Value-s.Addr))
		text, _, _ := bytes.Cut(b[:n], []byte{0})
		return strings.TrimSpace(string(text))
	}
	return ""
}

// openRegular opens a regular file for reading, and does not wait for a FIFO.
func openRegular(path string) (*os.File, error) {
	fi, err := os.Stat(path)
	if err != nil {
		return nil, withoutPath(err)
	}
	if !fi.Mode().IsRegular() {
		return nil, errors.New("not a regular file")
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, withoutPath(err)
	}
	return f, nil
}

// withoutPath returns the reason of an error about a file that the caller names.
func withoutPath(err error) error {
	var e *os.PathError
	if errors.As(err, &e) {
		return e.Err
	}
	return err
}

// fits returns why a vmlinux is not that of a dump, nil if it is. exact is false if the
// build ID of one of them is not known, so that release and version had to do.
func (v *Vmlinux) fits(k Kernel) (exact bool, err error) {
	switch {
	case v.Machine != k.Machine:
		return false, &MismatchError{v.Path, "machine", orUnknown(v.Machine), k.Machine}
	case k.BuildID != "" && v.BuildID != "" && k.BuildID != v.BuildID:
		return true, &MismatchError{v.Path, "build ID", v.BuildID, k.BuildID}
	case !v.DWARF:
		return false, errors.New(v.Path + ": no debug information")
	case k.BuildID != "" && v.BuildID != "":
		return true, nil
	}
	return false, v.fitsBanner(k)
}

// fitsBanner compares release and version, of a dump whose build ID is not known.
func (v *Vmlinux) fitsBanner(k Kernel) error {
	with, err := inspect(v.Path, true)
	if err != nil {
		return fmt.Errorf("%s: %w", v.Path, err)
	}
	// "Linux version RELEASE (BY@HOST) (COMPILER) VERSION", init/version-timestamp.c
	rest, ok := strings.CutPrefix(with.Banner, "Linux version ")
	if !ok {
		return errors.New(v.Path + ": neither a build ID to compare nor a version")
	}
	release, rest, _ := strings.Cut(rest, " ")
	if k.Release == "" {
		return errors.New(v.Path + ": the dump names neither build ID nor release to compare")
	}
	if release != k.Release {
		return &MismatchError{v.Path, "release", release, k.Release}
	}
	if k.Version != "" && !strings.HasSuffix(rest, ") "+k.Version) {
		version := rest
		if i := strings.LastIndex(rest, ") "); i >= 0 {
			version = rest[i+2:]
		}
		return &MismatchError{v.Path, "version", version, k.Version}
	}
	return nil
}

func orUnknown(s string) string {
	if s == "" {
		return "unknown"
	}
	return s
}

// MismatchError is a vmlinux of another kernel than the dump's.
type MismatchError struct {
	Path       string
	Of         string // the compared property: machine, build ID, release or version
	Have, Want string // of the file and of the dump
}

func (e *MismatchError) Error() string {
	return fmt.Sprintf("%s: of another kernel: its %s is %s, the dump's is %s", e.Path, e.Of, e.Have, e.Want)
}

// Advice implements the interface of package advice.
func (e *MismatchError) Advice() string {
	return "Omit --vmlinux: kdumpctl debug then searches all usual directories."
}
