package demand

import (
	"math"
	"math/bits"
	"strconv"
	"strings"
	"unicode"

	"ukdump/internal/kexec"
	"ukdump/internal/kfeature"
)

// recordShare is the size of the descriptors beside the log, for each of its bytes: 112
// bytes for 32 (PRB_AVGBITS, struct prb_desc and struct printk_info in
// kernel/printk/printk_ringbuffer.h).
const recordShare = 3.5

// bounceSlab is the unit of swiotlb= (IO_TLB_SHIFT in include/linux/swiotlb.h).
const bounceSlab = 2 * kib

// byWords returns the memory that words of the command line take, in bytes, each with
// the word as its name. They come from BOOT_OPTIONS: no word that ukdump sets itself
// takes memory. Words that make every allocation larger, such as slub_debug=, are not
// counted.
func (c *Capture) byWords(r *kexec.Memory, m Machine) (list []Part) {
	total := r.Total()
	add := func(name string, n int64) {
		if n > 0 {
			list = append(list, Part{name + "=", min(n, math.MaxInt64/64)})
		}
	}
	// The kernel keeps its small log if there is no memory for the large one
	// (setup_log_buf in kernel/printk/printk.c).
	if n := powerOfTwo(memparse(c.word("log_buf_len"))); float64(n)*(1+recordShare) < float64(total) {
		add("log_buf_len", int64(float64(n)*(1+recordShare)))
	}
	// A table has 8 bytes an entry, and a 16th of the memory at most
	// (alloc_large_system_hash in mm/mm_init.c).
	for _, name := range []string{"dhash_entries", "ihash_entries", "mhash_entries", "mphash_entries", "thash_entries", "uhash_entries"} {
		n, _ := strconv.ParseUint(c.word(name), 0, 32)
		add(name, min(powerOfTwo(int64(n)*8), total/16))
	}
	add("swiotlb", c.moreBounce(r))
	// Only pages that can be moved may lie there, and a capture has few.
	add("cma", memparse(c.word("cma")))
	add("coherent_pool", memparse(c.word("coherent_pool")))
	if c.traces() {
		add("trace_buf_size", memparse(c.word("trace_buf_size"))*int64(c.cpus(m)))
	}
	return list
}

// moreBounce returns the bounce buffers that swiotlb= adds to those of Bounce, as
// setup_io_tlb_npages in kernel/dma/swiotlb.c reads it: slabs, areas and force.
func (c *Capture) moreBounce(r *kexec.Memory) int64 {
	size, forced := bounceSize, false
	for i, v := range strings.Split(c.word("swiotlb"), ",") {
		n, err := strconv.ParseInt(v, 0, 32)
		switch {
		case i == 0 && err == nil && n > 0:
			size = n * bounceSlab
		case v == "force":
			forced = true
		}
	}
	usual := Bounce(r, c.Release)
	if !forced && usual == 0 {
		return 0
	}
	return max(0, size-usual)
}

// traces reports whether a word starts a tracer, which makes the buffers at boot.
func (c *Capture) traces() bool {
	if c.lacks(kfeature.Tracing) {
		return false
	}
	for _, name := range []string{"ftrace", "trace_event", "kprobe_event", "trace_trigger", "trace_instance"} {
		if c.word(name) != "" {
			return true
		}
	}
	return false
}

// powerOfTwo rounds up as roundup_pow_of_two does; 0 for sizes that no memory has.
func powerOfTwo(n int64) int64 {
	if n <= 0 || n > 1<<50 {
		return 0
	}
	return 1 << bits.Len64(uint64(n-1))
}

// memparse reads a size as memparse of lib/cmdline.c does, in bytes; 0 if it is none, or
// more than any memory.
func memparse(s string) int64 {
	digits := strings.TrimRightFunc(s, unicode.IsLetter)
	if strings.HasPrefix(s, "0x") {
		digits = s
	}
	if i := strings.IndexAny(digits, "@%,"); i >= 0 { // cma=SIZE@START
		return memparse(s[:i])
	}
	n, err := strconv.ParseUint(digits, 0, 50)
	if err != nil {
		return 0
	}
	shift := 0
	suffix := strings.ToUpper(s[len(digits):])
	switch suffix[:min(1, len(suffix))] { // the kernel ignores the rest: 64MB
	case "K":
		shift = 10
	case "M":
		shift = 20
	case "G":
		shift = 30
	case "T":
		shift = 40
	}
	if bits.Len64(n)+shift > 50 {
		return 0
	}
	return int64(n) << shift
}
