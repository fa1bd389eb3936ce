package dump

import "fmt"

// ExcludedError reports a page of memory that the filter of makedumpfile(8) left out.
type ExcludedError struct {
	Addr  uint64 // physical address
	Level int    // the filter, -d of makedumpfile; 0 if the dump does not tell
	// Zeros is set if the format of the dump leaves out pages of zeros in the same way,
	// so that the page may have been one.
	Zeros bool
}

func (e *ExcludedError) Error() string {
	s := fmt.Sprintf("physical address %#x: the page was excluded", e.Addr)
	if e.Level != 0 {
		s += fmt.Sprintf(" by dump level %d", e.Level)
	}
	return s
}

// AbsentError reports a physical address that is not memory, or of which the dump does not
// know that it is.
type AbsentError struct{ Addr uint64 }

func (e *AbsentError) Error() string {
	return fmt.Sprintf("physical address %#x: no memory in the dump", e.Addr)
}

// PartError reports a page in a part of a split dump that was not opened.
type PartError struct{ Addr uint64 } // physical address

func (e *PartError) Error() string {
	return fmt.Sprintf("physical address %#x: in a part of the split dump that is missing", e.Addr)
}

// Advice returns the way to complete the dump.
func (*PartError) Advice() string { return "Put all parts of the dump into one directory." }

// DamagedError reports a page of which the data cannot be read or unpacked.
type DamagedError struct {
	Addr uint64 // physical address
	Err  error
}

func (e *DamagedError) Error() string {
	return fmt.Sprintf("physical address %#x: damaged page: %v", e.Addr, e.Err)
}

func (e *DamagedError) Unwrap() error { return e.Err }

// UnmappedError reports a virtual address to which the kernel's page tables map nothing.
type UnmappedError struct{ Addr uint64 }

func (e *UnmappedError) Error() string {
	return fmt.Sprintf("virtual address %#x: not mapped", e.Addr)
}

// UntranslatableError reports a virtual address of which the page tables cannot be read.
type UntranslatableError struct {
	Addr uint64 // virtual address
	Err  error
}

func (e *UntranslatableError) Error() string {
	return fmt.Sprintf("virtual address %#x: read page tables: %v", e.Addr, e.Err)
}

func (e *UntranslatableError) Unwrap() error { return e.Err }

// VirtError is an error of ReadPhys with the virtual address that was read.
type VirtError struct {
	Addr uint64
	Err  error
}

func (e *VirtError) Error() string {
	return fmt.Sprintf("virtual address %#x: %v", e.Addr, e.Err)
}

func (e *VirtError) Unwrap() error { return e.Err }
