package demand

import (
	"fmt"
	"strings"

	"ukdump/internal/advice"
	"ukdump/internal/cli"
	"ukdump/internal/crashdir"
	"ukdump/internal/kexec"
	"ukdump/internal/state"
)

// enough is the least memory that a capture must leave, in bytes.
const enough = crashdir.EnoughMem

// elastic is the part of a larger reservation, 1/elastic, that the kernel takes for
// itself: tables and reserves that grow with memory.
const elastic = 32

// Correct returns need, the estimate for c with have bytes of memory, corrected by
// earlier captures of its kind. A capture that was complete with no more memory proves that it is
// enough, whatever the estimate is, until a later one runs out of as much.
func (c *Capture) Correct(need, have int64, earlier []state.Capture) int64 {
	proven, short := false, int64(0)
	for _, e := range earlier {
		if e.Release != c.Release || e.Emergency != c.Emergency || e.LogOnly != c.LogOnly || e.Lowest <= 0 || e.Memory <= 0 {
			continue
		}
		growth := max(0, c.Unpacked-e.Unpacked)
		if e.OutOfMemory && have <= e.Memory {
			proven, short = false, e.Memory+enough
			continue
		}
		// What it would have left of have bytes. It was a capture to a disk of this machine.
		left := e.Lowest - growth - c.upload()
		if have < e.Memory {
			left -= (e.Memory - have) * (elastic - 1) / elastic
		}
		if have >= e.Memory {
			if e.Complete && left >= enough && c.Packed <= e.Packed+growth {
				proven, short = true, 0
			}
			continue
		}
		if left < enough {
			need = max(need, have+enough-left)
		}
	}
	if proven {
		return min(need, have)
	}
	return max(need, short)
}

// Shortage returns the problem that a capture needs more memory than it has, nil if it
// has enough. Both are in bytes. crashkernel are the words of the command line.
func Shortage(need, have int64, crashkernel string) error {
	if need <= have {
		return nil
	}
	return advice.With(
		fmt.Errorf("the reservation is too small to capture a crash: %s can be used, a capture needs about %s", cli.Size(have), cli.Size(need)),
		raise(need, crashkernel))
}

// raise is the advice to reserve more than need bytes.
func raise(need int64, crashkernel string) string {
	suffix := ""
	if strings.Contains(crashkernel, ",high") {
		suffix = ",high"
	}
	return fmt.Sprintf("Run kdumpctl setup --crashkernel=%dM%s --apply, and reboot.", sufficient(need)>>20, suffix)
}

// sufficient returns the size of a reservation that is enough for a capture that needs
// need bytes. Only a small kernel needs so little that twice as much is below the 256 MiB
// that other kernels get.
func sufficient(need int64) int64 {
	const most, unit = 48 * mib, 2 * step // Debian's kernels need 60 MiB and more
	if need > most {
		return kexec.Sufficient(need)
	}
	return max(64*mib, (2*need+unit-1)/unit*unit)
}
