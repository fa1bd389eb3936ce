package demand

import (
	"fmt"

	"ukdump/internal/builder"
	"ukdump/internal/cli"
	"ukdump/internal/host"
	"ukdump/internal/kexec"
)

// manyBits is how many bits of an address reach all memory of any machine.
const manyBits = 48

// leftLow is what must be left of the memory that a controller can use beside the
// bounce buffers, in bytes: rings and tables that it shares with its driver.
const leftLow = mib

// AddLow is the advice to reserve memory that every controller can use.
const AddLow = "Run kdumpctl setup --crashkernel='SIZE,high 72M,low' --apply, and reboot."

// Reach is whether the controllers of the targets can use the reserved memory.
type Reach struct {
	// Lost names the controllers that cannot, one text for each target.
	Lost []string
	// Unknown names those for which it is not known.
	Unknown []string
	// All says that no target is left that works.
	All bool
}

// ReachOf compares the reserved memory with the controllers below the targets, for a
// capture kernel of that release.
func ReachOf(r *kexec.Memory, release string, targets []builder.Stack) Reach {
	var all Reach
	for _, t := range targets {
		lost := false
		for _, b := range t.Blocks {
			if len(b.Below) > 0 || lost {
				continue
			}
			for _, d := range host.Masters(t.Devices, b.Path) {
				why := unusable(r, release, d.DMABits)
				if d.DMABits == 0 && r.Ranges != nil && r.Below(4*gib) == 0 {
					all.Unknown = append(all.Unknown, fmt.Sprintf("%s of %s (%s)", d.Driver, b.Name, t.Target))
				}
				if why != "" && !lost {
					lost = true
					all.Lost = append(all.Lost, fmt.Sprintf("%s: %s, the controller of %s, uses addresses of %d bits, but %s", t.Target, d.Driver, b.Name, d.DMABits, why))
				}
			}
		}
	}
	all.All = len(all.Lost) > 0 && len(all.Lost) == len(targets)
	return all
}

// ReachAll reports whether the controllers below the targets are known to use all memory of
// the machine.
func ReachAll(targets []builder.Stack) bool {
	for _, t := range targets {
		for _, b := range t.Blocks {
			for _, d := range host.Masters(t.Devices, b.Path) {
				if d.DMABits < manyBits {
					return false
				}
			}
		}
	}
	return true
}

// unusable returns why a controller with addresses of that many bits cannot use r, ""
// if it can or nothing is known.
func unusable(r *kexec.Memory, release string, bits int) string {
	if bits == 0 || bits >= manyBits {
		return ""
	}
	limit := uint64(1) << bits
	if !r.Above(limit) {
		return ""
	}
	low, bounce := r.Below(limit), Bounce(r, release)
	switch {
	case low == 0:
		return fmt.Sprintf("no memory below %s is reserved", cli.Size(int64(limit)))
	case bounce == 0 || low-bounce < leftLow:
		return fmt.Sprintf("only %s below %s are reserved, too little for bounce buffers", cli.Size(low), cli.Size(int64(limit)))
	}
	return ""
}
