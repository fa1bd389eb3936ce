package vmtest

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// period is how often a processor of a guest gets its share: so short that others do not wait
// long for an answer to their interrupts.
const period = time.Millisecond

var vcpuThread = regexp.MustCompile(`thread_id=([0-9]+)`)

// Throttle gives each processor of the guest a percentage of one of this computer, from 1 to
// 95. A guest can thus have more processors than this computer, and all as fast as each
// other. It fails without root, and if all of them would take more than the kernel grants
// (SCHED_DEADLINE in sched(7): 95 % of all processors).
func (vm *VM) Throttle(percent int) error {
	text, err := vm.Monitor("info cpus")
	if err != nil {
		return err
	}
	threads := vcpuThread.FindAllStringSubmatch(text, -1)
	if len(threads) == 0 {
		return errors.New("throttle: QEMU names no threads of processors")
	}
	for _, t := range threads {
		id, err := strconv.Atoi(t[1])
		if err != nil {
			return fmt.Errorf("throttle: %w", err)
		}
		a := unix.SchedAttr{Policy: unix.SCHED_DEADLINE,
			Runtime: uint64(period.Nanoseconds()) * uint64(percent) / 100, Deadline: uint64(period.Nanoseconds()), Period: uint64(period.Nanoseconds())}
		if err := unix.SchedSetAttr(id, &a, 0); err != nil {
			return fmt.Errorf("throttle processor thread %d to %d %%: %w", id, percent, err)
		}
	}
	return nil
}
