// Package memusage runs makedumpfile --mem-usage on the running kernel and reads
// its table. It is apart from package makedumpfile because PID 1 of the capture
// kernel starts no programs by os/exec.
package memusage

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Table has the counts of makedumpfile --mem-usage, in pages. Each page is counted
// once. Pages that are broken or absent (balloon) are in total only.
type Table struct {
	zero, cache, privateCache, user, free, kernel int64

	total    int64
	pageSize int64 // bytes
}

// maxPages bounds the counts: with any page size fewer than 2^63 bytes.
const maxPages = 1 << 46

// ErrMisread is the error of counts that no running kernel can have.
var ErrMisread = errors.New("makedumpfile does not understand this kernel")

// Parse reads the table that makedumpfile --mem-usage prints (print_mem_usage in
// makedumpfile.c). Messages of any kind may come before it:
//
//	TYPE		PAGES			EXCLUDABLE	DESCRIPTION
//	----------------------------------------------------------------------
//	ZERO		6559            	yes		Pages filled with zero
//	NON_PRI_CACHE	1567            	yes		Cache pages without private flag
//	PRI_CACHE	251             	yes		Cache pages with private flag
//	USER		165             	yes		User process pages
//	FREE		425844          	yes		Free pages
//	KERN_DATA	37590           	no		Dumpable kernel data
//
//	page size:		4096
//	Total pages on system:	471976
//	Total size on system:	1933213696       Byte
func Parse(out []byte) (Table, error) {
	var t Table
	want := map[string]*int64{
		"ZERO": &t.zero, "NON_PRI_CACHE": &t.cache, "PRI_CACHE": &t.privateCache, "USER": &t.user, "FREE": &t.free, "KERN_DATA": &t.kernel,
		"page size:": &t.pageSize, "Total pages on system:": &t.total,
	}
	for line := range strings.Lines(string(out)) {
		name, rest, _ := strings.Cut(line, "\t")
		dst := want[name]
		if dst == nil {
			continue
		}
		count, _, _ := strings.Cut(strings.TrimLeft(rest, "\t "), " ")
		n, err := strconv.ParseInt(strings.TrimSpace(count), 10, 64)
		if err != nil || n < 0 || n > maxPages {
			return Table{}, fmt.Errorf("%w: it counts %.40q of %s", ErrMisread, strings.TrimSpace(count), strings.TrimSuffix(name, ":"))
		}
		*dst = n
		delete(want, name)
	}
	if len(want) > 0 {
		return Table{}, errors.New("makedumpfile --mem-usage did not print its table")
	}
	if t.pageSize < 4096 || t.pageSize > 64<<10 || t.pageSize&(t.pageSize-1) != 0 {
		return Table{}, fmt.Errorf("%w: its pages have %d bytes", ErrMisread, t.pageSize)
	}
	return t, nil
}

// Check returns an error if t cannot be true for the running kernel. A filter
// that counts more pages of a kind than the kernel itself would leave out pages
// that a dump needs. meminfo is the content of /proc/meminfo, see
// proc_meminfo(5).
func (t Table) Check(meminfo string) error {
	if t.kernel == 0 {
		return fmt.Errorf("%w: it finds no pages of the kernel", ErrMisread)
	}
	if sum := t.counted(); sum > t.total {
		return fmt.Errorf("%w: it finds %d pages of %d", ErrMisread, sum, t.total)
	}
	for _, x := range []struct {
		name   string
		pages  int64
		fields []string
	}{
		{"that are free", t.free, []string{"MemFree"}},
		{"of the cache", t.cache + t.privateCache, []string{"Cached", "Buffers", "SwapCached"}},
		{"of processes", t.user, []string{"AnonPages", "Hugetlb"}},
	} {
		have, ok := sumMeminfo(meminfo, x.fields)
		// Memory moves while it is counted.
		if most := have + have/4 + 64<<20 + t.total*t.pageSize/20; ok && x.pages*t.pageSize > most {
			return fmt.Errorf("%w: it finds %d MiB %s, the kernel itself %d MiB", ErrMisread, x.pages*t.pageSize>>20, x.name, have>>20)
		}
	}
	return nil
}

// sumMeminfo adds fields of /proc/meminfo, in bytes, and reports whether it has
// any of them.
func sumMeminfo(meminfo string, fields []string) (sum int64, ok bool) {
	for line := range strings.Lines(meminfo) {
		name, value, _ := strings.Cut(line, ":")
		kib, err := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(value), "kB")), 10, 50)
		if slices.Contains(fields, name) && err == nil && kib >= 0 {
			sum, ok = sum+kib<<10, true
		}
	}
	return sum, ok
}

// Missing names the kinds of pages that every kernel has and makedumpfile did
// not find: "of processes and that are free". It saves them with the rest. A
// makedumpfile that is older than the kernel fails in this way.
func (t Table) Missing() string {
	var kinds []string
	for _, x := range []struct {
		name  string
		pages int64
	}{{"of processes", t.user}, {"of the cache", t.cache + t.privateCache}, {"that are free", t.free}} {
		if x.pages == 0 {
			kinds = append(kinds, x.name)
		}
	}
	return strings.Join(kinds, " and ")
}

// counted returns the pages of all kinds.
func (t Table) counted() int64 {
	return t.zero + t.cache + t.privateCache + t.user + t.free + t.kernel
}

// DumpSize returns the size of an uncompressed dump at that level in bytes
// (makedumpfile(8), -d).
func (t Table) DumpSize(level int) int64 {
	kept := t.total
	if level > 1 {
		kept = t.counted() // it looks at the kinds of pages
	}
	for _, x := range []struct {
		bits  int // any of them leaves the pages out
		pages int64
	}{{1, t.zero}, {2 | 4, t.cache}, {4, t.privateCache}, {8, t.user}, {16, t.free}} {
		if level&x.bits != 0 {
			kept -= x.pages
		}
	}
	// Each page has a descriptor, all of memory two bitmaps; the rest is headers
	// (diskdump_mod.h of makedumpfile).
	const descriptor, headers = 24, 1 << 20
	return kept*(t.pageSize+descriptor) + t.total/8*2 + headers
}
