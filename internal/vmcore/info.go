package vmcore

import (
	"bytes"
	"iter"
	"maps"
	"strconv"
)

// Info is a parsed VMCOREINFO note: the crashed kernel's description of its own
// layout. Source: Documentation/admin-guide/kdump/vmcoreinfo.rst and the
// VMCOREINFO_* macros in include/linux/vmcore_info.h. The zero value is empty.
type Info struct{ values map[string]string }

// ParseInfo parses the text of a VMCOREINFO note, lines of KEY=VALUE. Lines of
// another form are skipped; of a repeated key the last value counts.
func ParseInfo(text []byte) Info {
	in := Info{values: make(map[string]string)}
	for line := range bytes.SplitSeq(bytes.TrimRight(text, "\x00"), []byte("\n")) {
		if k, v, ok := bytes.Cut(line, []byte("=")); ok {
			in.values[string(k)] = string(v)
		}
	}
	return in
}

// Get returns the value of a whole key such as "OSRELEASE" or
// "SYMBOL(init_uts_ns)", and "" if there is none.
func (in Info) Get(key string) string { return in.values[key] }

// All returns the keys and their values in no order.
func (in Info) All() iter.Seq2[string, string] { return maps.All(in.values) }

// Release returns the crashed kernel's release as uname -r prints it.
func (in Info) Release() string { return in.Get("OSRELEASE") }

// PageSize returns the page size in bytes, 0 if unknown.
func (in Info) PageSize() int64 {
	n, _ := in.parse("PAGESIZE", 10)
	return int64(n)
}

// CrashTime returns the time of the crash by the crashed kernel's clock in
// seconds since the epoch, 0 if unknown.
func (in Info) CrashTime() int64 {
	n, _ := in.parse("CRASHTIME", 10)
	return int64(n)
}

// Symbol returns the virtual address of a kernel symbol.
func (in Info) Symbol(name string) (uint64, bool) { return in.parse("SYMBOL("+name+")", 16) }

// Size returns the size of a kernel structure in bytes.
func (in Info) Size(name string) (uint64, bool) { return in.parse("SIZE("+name+")", 10) }

// Offset returns the offset in bytes of a field, named structure.field.
func (in Info) Offset(name string) (uint64, bool) { return in.parse("OFFSET("+name+")", 10) }

// Number returns a value of the kernel. Most are printed as signed decimal
// numbers, those of arm64 in hexadecimal with 0x; a negative value comes as its
// two's complement.
func (in Info) Number(name string) (uint64, bool) { return in.parse("NUMBER("+name+")", 0) }

// parse reads the value of key in the given base; base 0 goes by the prefix.
func (in Info) parse(key string, base int) (uint64, bool) {
	s := in.values[key]
	if n, err := strconv.ParseUint(s, base, 64); err == nil {
		return n, true
	}
	n, err := strconv.ParseInt(s, base, 64)
	return uint64(n), err == nil
}
