package load

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// memUsage is what makedumpfile --mem-usage counts, in pages. Each page is
// counted once; pages that are broken or not there (balloon) are in total only.
type memUsage struct {
	zero, cache, privateCache, user, free, kernel int64

	total    int64
	pageSize int64 // bytes
}

// maxPages bounds what is believed, in pages: with any page size fewer than 2^63
// bytes.
const maxPages = 1 << 46

// parseMemUsage reads the table that makedumpfile --mem-usage prints
// (print_mem_usage in makedumpfile.c) below messages of any kind:
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
func parseMemUsage(out []byte) (memUsage, error) {
	var u memUsage
	want := map[string]*int64{
		"ZERO": &u.zero, "NON_PRI_CACHE": &u.cache, "PRI_CACHE": &u.privateCache, "USER": &u.user, "FREE": &u.free, "KERN_DATA": &u.kernel,
		"page size:": &u.pageSize, "Total pages on system:": &u.total,
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
			return memUsage{}, fmt.Errorf("%w: it counts %.40q of %s", errNotUnderstood, strings.TrimSpace(count), strings.TrimSuffix(name, ":"))
		}
		*dst = n
		delete(want, name)
	}
	if len(want) > 0 {
		return memUsage{}, errors.New("makedumpfile --mem-usage did not print its table")
	}
	if u.pageSize < 4096 || u.pageSize > 64<<10 || u.pageSize&(u.pageSize-1) != 0 {
		return memUsage{}, fmt.Errorf("%w: its pages have %d bytes", errNotUnderstood, u.pageSize)
	}
	return u, nil
}

// check returns an error if u cannot be true for a running kernel: a filter that
// counts more pages of a kind than the kernel itself would leave out what a dump
// needs. meminfo is the content of /proc/meminfo, see proc_meminfo(5).
func (u *memUsage) check(meminfo string) error {
	if u.kernel == 0 {
		return fmt.Errorf("%w: it finds no pages of the kernel", errNotUnderstood)
	}
	if sum := u.counted(); sum > u.total {
		return fmt.Errorf("%w: it finds %d pages of %d", errNotUnderstood, sum, u.total)
	}
	for _, x := range []struct {
		name   string
		pages  int64
		fields []string
	}{
		{"that are free", u.free, []string{"MemFree"}},
		{"of the cache", u.cache + u.privateCache, []string{"Cached", "Buffers", "SwapCached"}},
		{"of processes", u.user, []string{"AnonPages", "Hugetlb"}},
	} {
		have, ok := sumMeminfo(meminfo, x.fields)
		// Memory moves while it is counted.
		if most := have + have/4 + 64<<20 + u.total*u.pageSize/20; ok && x.pages*u.pageSize > most {
			return fmt.Errorf("%w: it finds %d MiB %s, the kernel itself %d MiB", errNotUnderstood, x.pages*u.pageSize>>20, x.name, have>>20)
		}
	}
	return nil
}

// sumMeminfo adds fields of /proc/meminfo, in bytes, and reports whether any of
// them was there.
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

// missing names the kinds of pages of which there are always some, and of which
// it finds none: they go into every dump. That is how a makedumpfile fails that
// is older than the kernel.
func (u *memUsage) missing() string {
	var kinds []string
	for _, x := range []struct {
		name  string
		pages int64
	}{{"of processes", u.user}, {"of the cache", u.cache + u.privateCache}, {"that are free", u.free}} {
		if x.pages == 0 {
			kinds = append(kinds, x.name)
		}
	}
	return strings.Join(kinds, " and ")
}

// counted returns the pages of all kinds.
func (u *memUsage) counted() int64 {
	return u.zero + u.cache + u.privateCache + u.user + u.free + u.kernel
}

// dump returns the size of a dump at that level in bytes, if it is not
// compressed (makedumpfile(8), -d).
func (u *memUsage) dump(level int) int64 {
	kept := u.total
	if level > 1 {
		kept = u.counted() // it looks at the kinds of pages
	}
	for _, x := range []struct {
		bits  int // any of them leaves the pages out
		pages int64
	}{{1, u.zero}, {2 | 4, u.cache}, {4, u.privateCache}, {8, u.user}, {16, u.free}} {
		if level&x.bits != 0 {
			kept -= x.pages
		}
	}
	// Each page has a descriptor, all of memory two bitmaps; the rest is headers
	// (diskdump_mod.h of makedumpfile).
	const descriptor, headers = 24, 1 << 20
	return kept*(u.pageSize+descriptor) + u.total/8*2 + headers
}
