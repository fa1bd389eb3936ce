package dump

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"

	"ukdump/internal/dumpfile"
)

// Bounds of the search for the parts of a split dump.
const (
	maxSiblings = 4096 // files of a directory
	maxParts    = 256
)

// Range is a range of physical addresses, End not included.
type Range struct{ Start, End uint64 }

// OpenParts opens a split dump (makedumpfile --split) by the names of its parts, in any
// order. A part may be missing; see Missing.
func OpenParts(names ...string) (*Dump, error) {
	if len(names) == 0 {
		return nil, errors.New("open dump: no file")
	}
	var parts opened
	for _, name := range names {
		if err := parts.open(name); err != nil {
			parts.close()
			return nil, fmt.Errorf("open dump %s: %w", name, err)
		}
	}
	d, err := parts.dump()
	if err != nil {
		parts.close()
		return nil, fmt.Errorf("open dump %s: %w", names[0], err)
	}
	return d, nil
}

// opened are the parts of a dump with their files.
type opened struct {
	sources []source
	files   []io.Closer
}

func (o *opened) close() {
	for _, f := range o.files {
		f.Close()
	}
}

// open adds a part.
func (o *opened) open(name string) error {
	f, size, err := openSized(name)
	if err != nil {
		return err
	}
	src, err := openSource(f, size)
	if err == nil {
		err = o.check(src)
	}
	if err != nil {
		f.Close()
		return err
	}
	o.sources, o.files = append(o.sources, src), append(o.files, f)
	return nil
}

// check reports why a part is not one more of this dump.
func (o *opened) check(src source) error {
	l := src.header.Layout()
	switch {
	case len(o.sources) == 0:
		return nil
	case !l.Split || !sameDump(src, o.sources[0]):
		return errors.New("belongs to another dump")
	case len(o.sources) >= maxParts:
		return fmt.Errorf("more than %d parts", maxParts)
	}
	for _, s := range o.sources {
		if x := s.header.Layout(); l.First < x.End && x.First < l.End {
			return errors.New("has pages that another part has: given twice?")
		}
	}
	return nil
}

// sameDump compares the headers of two parts.
func sameDump(a, b source) bool {
	x, y := a.header, b.header
	return x.Layout().Pages == y.Layout().Pages && x.Time == y.Time && x.BlockSize == y.BlockSize && x.Machine == y.Machine &&
		x.Release == y.Release && x.Nodename == y.Nodename && y.Layout().Split
}

// addSiblings opens the other parts in the directory of the first.
func (o *opened) addSiblings(name string) {
	dir, err := os.Open(filepath.Dir(name))
	if err != nil {
		return
	}
	defer dir.Close()
	names, _ := dir.Readdirnames(maxSiblings)
	slices.Sort(names)
	for _, n := range names {
		n = filepath.Join(filepath.Dir(name), n)
		// Opening a pipe would wait.
		if fi, err := os.Stat(n); err == nil && fi.Mode().IsRegular() {
			_ = o.open(n) // most files are no part
		}
	}
}

// dump returns the dump of all parts.
func (o *opened) dump() (*Dump, error) {
	slices.SortFunc(o.sources, func(a, b source) int {
		return cmp.Compare(a.header.Layout().First, b.header.Layout().First)
	})
	d, err := newDump(o.sources)
	if err != nil {
		return nil, err
	}
	d.files = o.files
	return d, nil
}

// Missing returns the physical addresses of the parts of a split dump that were not found.
// ReadPhys has a *PartError for them.
func (d *Dump) Missing() []Range {
	k, ok := d.mem.(*kdump)
	if !ok {
		return nil
	}
	var missing []Range
	next := uint64(0)
	for _, p := range k.parts {
		if p.layout.First > next {
			missing = append(missing, Range{next * k.block, p.layout.First * k.block})
		}
		next = max(next, p.layout.End)
	}
	if next < k.pages {
		missing = append(missing, Range{next * k.block, k.pages * k.block})
	}
	return missing
}

// isELF reports whether the dump, in a flattened file or not, is an ELF core.
func isELF(h dumpfile.Header) bool { return h.Layout().Pages == 0 }
