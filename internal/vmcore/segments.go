package vmcore

import "io"

// Segment is a range of physical memory in a core. Of the Memory bytes from Paddr on the
// file has the first Size, at the offset Off; a filter left out the rest.
type Segment struct {
	Vaddr, Paddr uint64
	Memory       uint64
	Off, Size    int64
}

// Segments returns the ranges of memory in the order of the file.
func (f *File) Segments() []Segment {
	s := make([]Segment, len(f.loads))
	for i, l := range f.loads {
		s[i] = Segment{l.vaddr, l.paddr, max(l.mem, l.size), l.off, int64(l.size)}
	}
	return s
}

// StatusVisitor gets the place of the contents of each NT_PRSTATUS note, the registers of
// a CPU: struct elf_prstatus, include/uapi/linux/elfcore.h.
type StatusVisitor interface{ VisitStatus(off, size int64) }

// VisitStatus visits the NT_PRSTATUS notes of the core in the order of the file.
func (f *File) VisitStatus(v StatusVisitor) error {
	e, err := readEhdr(f.r)
	if err != nil {
		return err
	}
	for i := range e.phnum {
		var b [phdrSize]byte
		if err := readFull(f.r, b[:], e.phoff+int64(i)*phdrSize); err != nil {
			return err
		}
		if off := int64(le.Uint64(b[8:])); le.Uint32(b[0:]) == ptNote {
			if err := VisitStatus(f.r, off, int64(le.Uint64(b[32:])), v); err != nil {
				return err
			}
		}
	}
	return nil
}

// VisitStatus visits the NT_PRSTATUS notes in size bytes of r at the offset off.
func VisitStatus(r io.ReaderAt, off, size int64, v StatusVisitor) error {
	f := File{r: r, visitor: v}
	return f.readNotes(off, off+size)
}
