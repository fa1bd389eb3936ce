package load

import (
	"errors"
	"fmt"
	"math"
	"time"

	"ukdump/internal/advice"
	"ukdump/internal/builder"
	"ukdump/internal/config"
	"ukdump/internal/crashdir"
	"ukdump/internal/demand"
	"ukdump/internal/host"
	"ukdump/internal/kexec"
	"ukdump/internal/kimage"
	"ukdump/internal/state"
)

// weigh records in s how much memory its capture kernel can use and needs. Figures that
// are not known stay 0. conf may be nil.
func (ld *Loader) weigh(s *state.Set, kernel *kexec.Kernel, conf *kimage.Config) {
	s.Memory, s.Needed = 0, 0
	r, err := ld.Slot.Memory()
	if err != nil || s.KernelBytes <= 0 || s.KernelBytes > math.MaxUint32 {
		return
	}
	c := ld.demand(s, kernel, conf)
	need, have := c.Bytes(r, demand.ReadMachine(ld.Root))
	earlier, err := ld.Store.Measured()
	if err != nil {
		ld.Out.Warn(fmt.Sprintf("read the memory of earlier captures: %v", err))
	}
	s.Memory, s.Needed = have, c.Correct(need, have, earlier)
}

// Estimate returns the set that a load of b with an image of that many bytes would load,
// with its figures about memory.
func (ld *Loader) Estimate(b *builder.Build, packed, unpacked int64) *state.LoadRecord {
	s := newSet(b, packed, unpacked)
	s.Cmdline, s.Unreachable = b.Cmdline, unreachable(ld.Reach(b))
	ld.weigh(s, withFacts(nil, b.Kernel), b.Config())
	return &s.LoadRecord
}

// MemoryProblem returns the problem that the reservation is not enough for the set rec,
// nil if it is enough or nothing is known.
func (ld *Loader) MemoryProblem(rec *state.LoadRecord) error {
	if rec == nil {
		return nil
	}
	if err := demand.Shortage(rec.Needed, rec.Memory, ld.Slot.Crashkernel()); err != nil {
		return err
	}
	if rec.Unreachable != "" {
		return advice.With(errors.New(rec.Unreachable), demand.AddLow)
	}
	return nil
}

// warnMemory warns of the problems of rec and of the controllers in r that a crash may
// show.
func (ld *Loader) warnMemory(r demand.Reach, rec *state.LoadRecord) {
	if err := ld.MemoryProblem(rec); err != nil {
		ld.Out.Warn(fmt.Sprintf("%v: a crash may not be saved", err), advice.For(err))
	}
	if !r.All {
		for _, lost := range r.Lost {
			ld.Out.Warn(lost+": no dump there", demand.AddLow)
		}
	}
}

// clockError is how much later a kernel may record its load than a crash after it.
const clockError = time.Minute

// LearnMemory keeps the memory that captures of the last set have had and used. The
// clock of the capture kernel may be wrong, so the time of a crash counts, which is
// from the clock of the kernel that crashed.
func (ld *Loader) LearnMemory(conf *config.Config) {
	rec := ld.Store.LoadedEarlier()
	if rec == nil || rec.Memory == 0 {
		return
	}
	machine := ""
	if h, err := host.Open(ld.Root); err == nil {
		machine, _ = h.MachineID()
	}
	var fresh []state.Capture
	for _, dir := range conf.DumpDirs(ld.Root) {
		dumps, _ := crashdir.List(dir) // list and announce report errors
		for _, d := range dumps {
			r := d.Report
			if r == nil || r.ID == "" || r.Machine != machine || r.LowestMem <= 0 || r.Capture != rec.Release || r.CrashTime.Before(rec.Time.Add(-clockError)) {
				continue
			}
			fresh = append(fresh, state.Capture{
				ID: r.ID, Release: r.Capture, Time: r.CrashTime, Emergency: rec.Emergency, LogOnly: rec.LogOnly, Complete: d.Saved(), OutOfMemory: !d.Saved() && r.OutOfMemory(),
				Memory: rec.Memory, Packed: rec.ImageBytes, Unpacked: rec.Unpacked, Lowest: r.LowestMem,
			})
		}
	}
	if err := ld.Store.AddMeasured(fresh); err != nil {
		ld.Out.Warn(fmt.Sprintf("save the memory of the last capture: %v", err))
	}
}

// Reach compares the reserved memory with the controllers below the targets of b.
func (ld *Loader) Reach(b *builder.Build) demand.Reach {
	r, err := ld.Slot.Memory()
	if err != nil {
		return demand.Reach{}
	}
	return demand.ReachOf(r, b.Kernel.Release, b.Targets())
}

// unreachable returns the problem that no target can use the reserved memory, ""
// without one.
func unreachable(r demand.Reach) string {
	if r.All {
		return r.Lost[0]
	}
	return ""
}
