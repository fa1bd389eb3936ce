package load

import (
	"fmt"
	"math"
	"slices"

	"ukdump/internal/builder"
	"ukdump/internal/demand"
	"ukdump/internal/kexec"
	"ukdump/internal/kimage"
	"ukdump/internal/state"
	"ukdump/internal/target"
)

// Sizing is how much memory the capture kernel needs on this machine. Sizes are in bytes.
type Sizing struct {
	Kernel    string          `json:"kernel_release"`
	LogOnly   bool            `json:"log_only,omitempty"` // no vmcore is saved
	Parts     []demand.Part   `json:"parts"`              // of the estimate
	Estimate  int64           `json:"estimate"`           // their sum
	Smallest  int64           `json:"smallest"`           // safe reservation
	Suggested int64           `json:"suggested"`          // reservation until a capture has measured it
	Lent      int64           `json:"lent"`               // of Recommended, what crashkernel=SIZE,cma can be; 0 if it is not sensible or not possible
	Measured  []state.Capture `json:"measured"`           // captures with this kernel
}

// Tested reports whether a capture of this kernel has saved all that it was to save.
func (s *Sizing) Tested() bool {
	return slices.ContainsFunc(s.Measured, func(c state.Capture) bool { return c.Complete })
}

// Recommended returns the reservation to set now, in bytes.
func (s *Sizing) Recommended() int64 {
	if s.Tested() {
		return s.Smallest
	}
	return s.Suggested
}

// Size returns how much memory a load of b takes, with an image of that many bytes. It
// needs no reservation.
func (ld *Loader) Size(b *builder.Build, packed, unpacked int64) (*Sizing, error) {
	s := newSet(b, packed, unpacked)
	s.Cmdline = b.Cmdline
	if s.KernelBytes <= 0 || s.KernelBytes > math.MaxUint32 {
		return nil, fmt.Errorf("%s: the kernel does not say how much memory it takes", b.Kernel.Path)
	}
	c := ld.demand(s, withFacts(nil, b.Kernel), b.Config())
	m := demand.ReadMachine(ld.Root)
	earlier, err := ld.Store.Measured()
	if err != nil {
		return nil, fmt.Errorf("read the memory of earlier captures: %w", err)
	}
	z := &Sizing{Kernel: s.Release, LogOnly: s.LogOnly, Smallest: c.Smallest(m, earlier), Measured: []state.Capture{}}
	if z.Smallest == 0 {
		return nil, fmt.Errorf("%s: no reservation is large enough for this kernel and its image", b.Kernel.Path)
	}
	z.Suggested = c.Comfortable(z.Smallest)
	z.Parts = c.Parts(demand.Unplaced(z.Smallest), m)
	for _, p := range z.Parts {
		z.Estimate += p.Bytes
	}
	for _, e := range earlier {
		if e.Release == s.Release && e.Emergency == s.Emergency && e.LogOnly == s.LogOnly {
			z.Measured = append(z.Measured, e)
		}
	}
	const worth = 16 << 20 // less is not worth that a capture begins later
	if lent := z.Recommended() - c.Fixed(); lent >= worth && b.CanLend() && demand.ReachAll(b.Targets()) {
		z.Lent = lent
	}
	return z, nil
}

// demand returns what a set asks for. conf may be nil.
func (ld *Loader) demand(s *state.Set, kernel *kexec.Kernel, conf *kimage.Config) *demand.Capture {
	return &demand.Capture{
		Arch: ld.Slot.Arch, Release: s.Release, PageSize: kernel.PageSize, InitSize: s.KernelBytes, Cmdline: s.Cmdline,
		Packed: s.ImageBytes, Unpacked: s.Unpacked, Emergency: s.Emergency, LogOnly: s.LogOnly,
		Uploads: slices.ContainsFunc(s.Servers, uploads),
		Config:  conf,
	}
}

// uploads reports whether a target at a server, by its Dir, gets the vmcore in parts.
func uploads(dir string) bool {
	t, err := target.Parse(dir)
	return err == nil && t.Kind == target.S3
}

// Shrink gives the memory beyond size bytes of the range that the capture kernel is loaded
// into back to the running kernel, and loads the capture kernel again. The caller has the
// lock.
func (ld *Loader) Shrink(size int64) (before, after int64, err error) {
	m, err := ld.Slot.Memory()
	if err != nil {
		return 0, 0, err
	}
	before = m.Main + m.Low
	// The kernel gives the main range back before the low one.
	want := m.Low + size
	if want >= m.Main+m.Low {
		return before, before, nil
	}
	loaded, err := ld.Slot.Loaded()
	if err != nil {
		return before, before, err
	}
	if loaded {
		if err := ld.Unload(); err != nil {
			return before, before, err
		}
	}
	after, err = ld.Slot.Shrink(want)
	if loaded {
		if lerr := ld.Load(Options{}); err == nil {
			err = lerr
		}
	}
	return before, after, err
}
