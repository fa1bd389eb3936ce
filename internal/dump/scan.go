package dump

import (
	"bytes"

	"ukdump/internal/vmcore"
)

// maxScan bounds the search for VMCOREINFO, in bytes of memory.
const maxScan = 16 << 30

// infoStart is the first line of VMCOREINFO (kernel/vmcore_info.c).
var infoStart = []byte("OSRELEASE=")

// findInfo looks for VMCOREINFO in memory if the dump has no note of it. The kernel
// prepares the text at the beginning of a page, vmcoreinfo_data in kernel/vmcore_info.c.
func (d *Dump) findInfo() {
	if d.info.Release() != "" {
		return
	}
	scanned := uint64(0)
	for addr, ok := d.mem.next(0); ok && scanned < maxScan; addr, ok = d.mem.next(addr + d.blockSize) {
		scanned += d.blockSize
		b, err := d.cache.get(d.mem, addr, int(d.blockSize))
		if err != nil {
			continue
		}
		for page := range bytesOf(b) {
			if d.isInfo(page) {
				return
			}
		}
	}
}

// bytesOf yields the smallest pages in a block.
func bytesOf(b []byte) func(yield func([]byte) bool) {
	return func(yield func([]byte) bool) {
		for ; len(b) >= 4096 && yield(b[:4096]); b = b[4096:] {
		}
	}
}

// isInfo takes the text in a page if it is VMCOREINFO of the crashed kernel: by its
// addresses the memory has a kernel of its release. The page may as well be a copy in a
// file or in another program.
func (d *Dump) isInfo(page []byte) bool {
	if !bytes.HasPrefix(page, infoStart) {
		return false
	}
	text, _, _ := bytes.Cut(page, []byte{0})
	info := vmcore.ParseInfo(text)
	uts, ok := info.Symbol("init_uts_ns")
	if _, root := info.Symbol("swapper_pg_dir"); !ok || !root || info.PageSize() == 0 || info.Release() == "" {
		return false
	}
	d.info = info
	d.space.init = false
	if d.releaseAt(uts) == info.Release() {
		return true
	}
	d.info = vmcore.Info{}
	d.space.init = false
	return false
}

// releaseAt returns the release in struct uts_namespace at a virtual address, "" if it
// cannot be read. Its name is at OFFSET(uts_namespace.name), in new_utsname, whose third
// field of 65 bytes is the release: include/uapi/linux/utsname.h.
func (d *Dump) releaseAt(uts uint64) string {
	const field = 65
	off, _ := d.info.Offset("uts_namespace.name")
	var b [field]byte
	if err := d.readVirt(b[:], uts+off+2*field); err != nil {
		return ""
	}
	text, _, _ := bytes.Cut(b[:], []byte{0})
	return string(text)
}
