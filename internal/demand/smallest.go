package demand

import (
	"ukdump/internal/kexec"
	"ukdump/internal/state"
)

const (
	// step is the unit of a recommended reservation, in bytes. The kernel rounds to less.
	step = 8 * mib
	// largest ends the search for a reservation, in bytes.
	largest = int64(16) << 30
	// doubt is the part of an estimate, 1/doubt, by which the reservation exceeds it.
	// docs/measured.md has what it comes from.
	doubt = 16
	// margin is the least by which the reservation exceeds the estimate, in bytes: with 4
	// MiB that were free for PID 1 the kernel ended a collector for lack of memory.
	margin = 2 * enough
)

// SmallKernel is the most memory that a small kernel takes without image and devices, in
// bytes. Debian's kernels take 54 MiB and more, that of packaging/capture-kernel about 14.
const SmallKernel = 32 * mib

// Smallest returns the size of the smallest reservation with which c is expected to
// succeed, in bytes, with a margin and a multiple of 8 MiB; 0 if none is. earlier are
// captures of this machine.
func (c *Capture) Smallest(m Machine, earlier []state.Capture) int64 {
	earlier = incomplete(earlier)
	for size := 2 * step; size <= largest; size += step {
		need, have := c.Bytes(Unplaced(size), m)
		need = c.Correct(need, have, earlier)
		if need+max(need/doubt, margin) <= have {
			return size
		}
	}
	return 0
}

// Fixed returns the size of a reservation that kernel and image fit into before the kernel
// runs, in bytes, a multiple of 8 MiB. Memory that is lent until a crash can be the rest.
func (c *Capture) Fixed() int64 {
	const others = 4 * mib // the header of the dump, purgatory, alignment
	n := c.InitSize + c.Packed + others
	n += n / doubt
	return (n + step - 1) / step * step
}

// incomplete returns the captures without those that prove a reservation to be enough:
// the kernel may choose another place for it, where the same capture takes more.
func incomplete(earlier []state.Capture) (list []state.Capture) {
	for _, e := range earlier {
		e.Complete = false
		list = append(list, e)
	}
	return list
}

// Unplaced returns a reservation of that size which touches as many sections as it can:
// where the kernel will find room is not known.
func Unplaced(size int64) *kexec.Memory {
	const start = 2<<30 - 4<<20
	return &kexec.Memory{Main: size, Ranges: []kexec.Range{{Start: start, End: uint64(start + size - 1)}}}
}

// Comfortable returns the size of a reservation for c as long as no capture of this machine
// has shown how much it takes, in bytes: half as much again as the smallest, and no less
// than 128 MiB. Drivers of unknown hardware need the rest. A small kernel has few of them,
// and so gets no less than 64 MiB.
func (c *Capture) Comfortable(smallest int64) int64 {
	least, unit := 128*mib, 4*step
	if c.kernel() <= SmallKernel {
		least, unit = 64*mib, step
	}
	return max(least, (smallest*3/2+unit-1)/unit*unit)
}
