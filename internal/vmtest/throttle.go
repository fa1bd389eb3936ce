package vmtest

import (
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
	threads, err := vcpuThreads(text)
	if err != nil {
		return err
	}
	every := uint64(period.Nanoseconds())
	a := unix.SchedAttr{Policy: unix.SCHED_DEADLINE, Runtime: every * uint64(percent) / 100, Deadline: every, Period: every}
	for _, id := range threads {
		if err := unix.SchedSetAttr(id, &a, 0); err != nil {
			return fmt.Errorf("throttle processor thread %d to %d %%: %w", id, percent, err)
		}
	}
	return nil
}

// vcpuThreads returns the threads that "info cpus" of QEMU's monitor names. It fails if there
// are none.
func vcpuThreads(text string) ([]int, error) {
	var ids []int
	for _, t := range vcpuThread.FindAllStringSubmatch(text, -1) {
		id, err := strconv.Atoi(t[1])
		if err != nil {
			return nil, fmt.Errorf("info cpus: %w", err)
		}
		ids = append(ids, id)
	}
	if len(ids) == 0 {
		return nil, fmt.Errorf("info cpus: no threads in %q", text)
	}
	return ids, nil
}
