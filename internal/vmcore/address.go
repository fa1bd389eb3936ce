package vmcore

import "fmt"

// x86-64 virtual memory map: Documentation/arch/x86/x86_64/mm.rst.
const (
	x86TextBase     = 0xffffffff80000000 // __START_KERNEL_map
	x86TextSize     = 1 << 30
	x86DirectBase4  = 0xffff888000000000 // page_offset_base without KASLR, 4-level paging
	x86DirectBase5  = 0xff11000000000000 // the same with 5-level paging
	x86DirectLimit4 = 0xffffc88000000000
)

// maxSpan bounds the segments that one read may cross. Adjacent ranges of
// memory make a few; thousands are a damaged header.
const maxSpan = 64

// locate returns the file offset of the byte at the virtual address v, and the number
// of bytes from there to the end of the segment.
//
// It first uses the virtual addresses of the segments. Headers made by kexec-tools may
// lack or misstate them, so it then uses physical addresses from VMCOREINFO.
func (f *File) locate(v uint64) (off int64, avail uint64, ok bool) {
	for _, s := range f.loads {
		if v >= s.vaddr && v-s.vaddr < s.size {
			return s.off + int64(v-s.vaddr), s.size - (v - s.vaddr), true
		}
	}
	p, ok := f.physical(v)
	if !ok {
		return 0, 0, false
	}
	for _, s := range f.loads {
		if p >= s.paddr && p-s.paddr < s.size {
			return s.off + int64(p-s.paddr), s.size - (p - s.paddr), true
		}
	}
	return 0, 0, false
}

// physical translates an address of the kernel's image or direct map.
func (f *File) physical(v uint64) (uint64, bool) {
	if f.Machine == "arm64" {
		return f.physicalArm64(v)
	}
	if v >= x86TextBase && v-x86TextBase < x86TextSize {
		base, ok := f.Info.Number("phys_base")
		return v - x86TextBase + base, ok
	}
	// KASLR moves the direct map, and VMCOREINFO lacks its address. One segment with
	// a usable address gives it for all.
	for _, s := range f.loads {
		if s.vaddr >= x86DirectBase5 && s.vaddr < x86TextBase && v >= s.vaddr-s.paddr {
			return v - (s.vaddr - s.paddr), true
		}
	}
	base := uint64(x86DirectBase4)
	if l5, _ := f.Info.Number("pgtable_l5_enabled"); l5 != 0 {
		base = x86DirectBase5
	} else if v >= x86DirectLimit4 {
		return 0, false
	}
	return v - base, v >= base
}

// Physical translates an address of the kernel's image, or of the linear map of arm64, by
// VMCOREINFO alone. KASLR moves the direct map of x86-64, so its addresses are not known.
func (in Info) Physical(machine string, v uint64) (uint64, bool) {
	if machine != "arm64" {
		// Without KASLR modules begin in the middle of x86TextSize.
		image, ok := in.Number("KERNEL_IMAGE_SIZE")
		if !ok {
			image = x86TextSize / 2
		}
		if v < x86TextBase || v-x86TextBase >= min(image, x86TextSize) {
			return 0, false
		}
	}
	f := File{Machine: machine, Info: in}
	return f.physical(v)
}

// physicalArm64 knows both layouts of Documentation/arch/arm64/memory.rst:
// since 5.4 the direct map is the lower part of the kernel's half and the image
// lies above it. Before 5.4 the image was below the direct map.
func (f *File) physicalArm64(v uint64) (uint64, bool) {
	bits, ok := f.Info.Number("VA_BITS")
	if !ok || bits < 36 || bits > 52 {
		return 0, false
	}
	// The border is that of 48 bits even in a kernel that runs with 52, and of 47 bits with
	// pages of 16 KiB (_PAGE_END(VA_BITS_MIN)).
	least := min(bits, 48)
	if bits > 48 && f.Info.PageSize() == 16<<10 {
		least = 47
	}
	border := ^uint64(0) << (least - 1)
	stext, ok := f.Info.Symbol("_stext")
	linear := v < border
	first := ^uint64(0) << bits // first address of the direct map
	if ok && stext < border {
		linear = v >= border
		first = border
	}
	if linear {
		phys, ok := f.Info.Number("PHYS_OFFSET")
		return v - first + phys, ok && v >= first
	}
	off, ok := f.Info.Number("kimage_voffset")
	return v - off, ok
}

// read fills p from the virtual address v: at least need bytes, more if the core has
// the memory behind. It returns the number of bytes.
func (f *File) read(p []byte, v uint64, need int) (int, error) {
	n := 0
	for range maxSpan {
		if n == len(p) {
			return n, nil
		}
		off, avail, ok := f.locate(v + uint64(n))
		if !ok {
			if n >= need {
				return n, nil
			}
			return n, fmt.Errorf("address %#x is not in the core", v+uint64(n))
		}
		chunk := p[n:]
		if avail < uint64(len(chunk)) {
			chunk = chunk[:avail]
		}
		m, err := f.r.ReadAt(chunk, off)
		n += m
		if m < len(chunk) {
			if n >= need {
				return n, nil
			}
			return n, fmt.Errorf("read address %#x, offset %#x of the core: %w", v+uint64(n), off+int64(m), readErr(err))
		}
	}
	if n >= need {
		return n, nil
	}
	return n, fmt.Errorf("address %#x: memory is scattered over more than %d segments", v, maxSpan)
}

// word reads the 64-bit number at the virtual address v.
func (f *File) word(v uint64) (uint64, error) {
	var b [8]byte
	if _, err := f.read(b[:], v, len(b)); err != nil {
		return 0, err
	}
	return le.Uint64(b[:]), nil
}

// half reads the 32-bit number at the virtual address v.
func (f *File) half(v uint64) (uint32, error) {
	var b [4]byte
	if _, err := f.read(b[:], v, len(b)); err != nil {
		return 0, err
	}
	return le.Uint32(b[:]), nil
}

// window reads ahead, so that neighbouring records cost one read.
type window struct {
	f     *File
	buf   []byte
	start uint64 // virtual address of buf[0]
	n     int    // valid bytes in buf
}

// at returns size bytes of memory at the virtual address v. They are valid
// until the next call; size must not exceed len(w.buf).
func (w *window) at(v uint64, size int) ([]byte, error) {
	if v < w.start || v-w.start > uint64(w.n) || w.n-int(v-w.start) < size {
		n, err := w.f.read(w.buf, v, size)
		w.start, w.n = v, n
		if err != nil {
			w.n = 0
			return nil, err
		}
	}
	i := int(v - w.start)
	return w.buf[i : i+size], nil
}
