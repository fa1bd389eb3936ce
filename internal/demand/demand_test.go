package demand

import (
	"os"
	"path/filepath"
	"testing"

	"ukdump/internal/advice"
	"ukdump/internal/kexec"
	"ukdump/internal/state"
)

// at returns a reservation of so many MiB that begins at a MiB.
func at(start, size int64) *kexec.Memory {
	return &kexec.Memory{Main: size * mib, Ranges: []kexec.Range{{Start: uint64(start * mib), End: uint64((start+size)*mib - 1)}}}
}

const lockdown = "console=ttyS0 lockdown=confidentiality nr_cpus=1"

// The smallest reservation with which each tool and kernel captured a crash, and the
// step below it, which failed (docs/measured.md; Linux 6.12 and 7.2 in steps of 1 MiB,
// with an image of 4.6 and 9.0 MiB).
func TestMeasured(t *testing.T) {
	const cloud, generic = 52700 * kib, 65120 * kib // init_size of Debian's 6.1
	for _, tt := range []struct {
		name          string
		c             Capture
		start         int64 // MiB
		works, fails  int64 // MiB
		underestimate bool  // fails is not recognised
	}{
		{"ukdump, cloud", Capture{InitSize: cloud, Packed: 3113504, Unpacked: 7047136, Cmdline: lockdown}, 1920, 72, 64, false},
		{"ukdump, cloud, across two sections", Capture{InitSize: cloud, Packed: 3113504, Unpacked: 7047136, Cmdline: lockdown}, 368, 72, 68, false},
		{"ukdump, generic", Capture{InitSize: generic, Packed: 3724254, Unpacked: 9549354, Cmdline: lockdown}, 1920, 88, 80, false},
		{"floor, cloud", Capture{InitSize: cloud, Packed: 2538202, Unpacked: 6191341, Cmdline: "nr_cpus=1"}, 1920, 80, 72, false},
		{"floor, generic", Capture{InitSize: generic, Packed: 3033936, Unpacked: 8693201, Cmdline: "nr_cpus=1"}, 1920, 96, 88, false},
		{"kdump-tools, cloud", Capture{InitSize: cloud, Packed: 6545526, Unpacked: 16955096, Cmdline: "nr_cpus=1"}, 1920, 96, 88, false},
		{"kdump-tools, generic", Capture{InitSize: generic, Packed: 7216577, Unpacked: 20149779, Cmdline: "nr_cpus=1"}, 1920, 128, 120, true},
		{"kdump-utils, cloud", Capture{InitSize: cloud, Packed: 17349632, Unpacked: 17413718, Cmdline: "nr_cpus=1", Emergency: true}, 1920, 112, 104, false},
		{"kdump-utils, generic", Capture{InitSize: generic, Packed: 18194432, Unpacked: 18258657, Cmdline: "nr_cpus=1", Emergency: true}, 1920, 128, 120, false},
		{"simple-kdump, cloud", Capture{InitSize: cloud, Packed: 13740097, Unpacked: 52659555, Cmdline: "nr_cpus=1", Emergency: true}, 1920, 144, 136, false},
		{"simple-kdump, generic", Capture{InitSize: generic, Packed: 30645618, Unpacked: 132028993, Cmdline: "nr_cpus=1", Emergency: true}, 1760, 256, 248, false},
		{"Linux 6.12", Capture{Release: "6.12.118+deb13-amd64", InitSize: 57272 * kib, Packed: 4784266, Unpacked: 9417000, Cmdline: lockdown}, 16, 75, 72, false},
		{"Linux 7.2", Capture{Release: "7.2.13+deb14-cloud-amd64", InitSize: 61676 * kib, Packed: 4784266, Unpacked: 9417000, Cmdline: lockdown}, 16, 87, 85, false},
	} {
		tt.c.Arch, tt.c.PageSize = "amd64", 4096
		if tt.c.Release == "" {
			tt.c.Release = "6.1.0-56-amd64"
		}
		if need, have := tt.c.Bytes(at(tt.start, tt.works), Machine{CPUs: 4}); need > have {
			t.Errorf("%s: needs %d KiB, but %d MiB were enough", tt.name, need/kib, tt.works)
		}
		need, have := tt.c.Bytes(at(tt.start, tt.fails), Machine{CPUs: 4})
		if (need <= have) != tt.underestimate {
			t.Errorf("%s: needs %d KiB, and %d MiB were not enough", tt.name, need/kib, tt.fails)
		}
	}
}

// Each fact about kernel, machine and command line adds to the demand, in MiB.
func TestParts(t *testing.T) {
	base := Capture{Arch: "amd64", PageSize: 4096, Release: "6.12.1", InitSize: 50 * mib, Packed: 4 * mib, Unpacked: 8 * mib, Cmdline: "nr_cpus=1"}
	for _, tt := range []struct {
		name   string
		change func(c *Capture)
		r      *kexec.Memory
		m      Machine
		want   int64 // MiB more than the kernel, its image and 3
	}{
		{"in the first section", nil, at(16, 100), Machine{}, 2},
		{"in another section", nil, at(1024, 100), Machine{}, 4},
		{"across two sections", nil, at(100, 100), Machine{}, 4},
		{"addresses unknown", nil, &kexec.Memory{Main: 100 * mib}, Machine{}, 4},
		{"addresses unknown, large", nil, &kexec.Memory{Main: 512 * mib}, Machine{}, 10},
		{"6.1 with tracefs, rounded down", func(c *Capture) { c.Release = "6.1.0" }, at(16, 100), Machine{}, 11},
		{"6.1 locked down", func(c *Capture) { c.Release, c.Cmdline = "6.1.0", lockdown }, at(16, 100), Machine{}, 2},
		{"6.1, lockdown undone", func(c *Capture) { c.Release, c.Cmdline = "6.1.0", lockdown+" lockdown=none" }, at(16, 100), Machine{}, 11},
		{"7.0", func(c *Capture) { c.Release = "7.0.0-rc1" }, at(16, 100), Machine{}, 9},
		{"8.1", func(c *Capture) { c.Release = "8.1" }, at(16, 100), Machine{}, 9},
		{"nr_cpus=4 of 8", func(c *Capture) { c.Cmdline += " nr_cpus=4" }, at(16, 100), Machine{CPUs: 8}, 5},
		{"nr_cpus=64 of 2", func(c *Capture) { c.Cmdline += " nr_cpus=64" }, at(16, 100), Machine{CPUs: 2}, 3},
		{"no nr_cpus, 16 processors", func(c *Capture) { c.Cmdline = "" }, at(16, 100), Machine{CPUs: 16}, 17},
		{"senseless nr_cpus", func(c *Capture) { c.Cmdline = "nr_cpus=-1" }, at(16, 100), Machine{}, 2},
		{"a server", nil, at(16, 100), Machine{PCI: 512, IOMMUs: 8}, 15},
		{"emergency", func(c *Capture) { c.Emergency = true }, at(16, 100), Machine{}, 12},
		{"arm64", func(c *Capture) { c.Arch = "arm64" }, at(1024, 100), Machine{}, 15},
		{"arm64, pages of 64 KiB, rounded down", func(c *Capture) { c.Arch, c.PageSize = "arm64", 65536 }, at(1024, 100), Machine{}, 13},
	} {
		c := base
		if tt.change != nil {
			tt.change(&c)
		}
		need, _ := c.Bytes(tt.r, tt.m)
		if got := (need - 65*mib) / mib; got != tt.want {
			t.Errorf("%s: %d MiB more, want %d", tt.name, got, tt.want)
		}
	}
}

// Memory above 4 GiB makes the kernel take 64 MiB below for bounce buffers.
func TestBounce(t *testing.T) {
	highLow := func(low int64) *kexec.Memory {
		r := at(5000, 192)
		if low > 0 {
			r.Low, r.Ranges = low*mib, append(at(2900, low).Ranges, r.Ranges...)
		}
		return r
	}
	for _, tt := range []struct {
		name    string
		r       *kexec.Memory
		release string
		want    int64 // MiB
	}{
		{"below 4 GiB", at(2000, 256), "6.1.0", 0},
		{"addresses unknown", &kexec.Memory{Main: 256 * mib}, "6.1.0", 0},
		{"nothing low", highLow(0), "6.1.0", 0},
		{"256 MiB low", highLow(256), "6.1.0", 64},
		{"64 MiB low", highLow(64), "6.1.0", 64},
		{"48 MiB low", highLow(48), "6.1.0", 32},
		{"48 MiB low, old kernel", highLow(48), "5.10.0", 0},
		{"16 MiB low", highLow(16), "6.12.0", 16},
	} {
		if got := Bounce(tt.r, tt.release) / mib; got != tt.want {
			t.Errorf("%s: %d MiB, want %d", tt.name, got, tt.want)
		}
	}
}

// A captured crash proves what was enough, and shows what would not be.
func TestCorrect(t *testing.T) {
	c := Capture{Release: "6.1.0", Packed: 3 * mib, Unpacked: 7 * mib}
	of := func(memory, lowest int64, change func(e *state.Capture)) state.Capture {
		e := state.Capture{Release: "6.1.0", Complete: true, Memory: memory * mib, Packed: 3 * mib, Unpacked: 7 * mib, Lowest: lowest * mib}
		if change != nil {
			change(&e)
		}
		return e
	}
	for _, tt := range []struct {
		name             string
		need, have, want int64 // MiB
		earlier          []state.Capture
	}{
		{"nothing known", 70, 64, 70, nil},
		{"proven", 70, 64, 64, []state.Capture{of(64, 5, nil)}},
		{"proven with less", 70, 68, 68, []state.Capture{of(64, 5, nil)}},
		{"proven for another kernel", 70, 64, 70, []state.Capture{of(64, 5, func(e *state.Capture) { e.Release = "6.12.0" })}},
		{"not complete", 70, 64, 70, []state.Capture{of(64, 5, func(e *state.Capture) { e.Complete = false })}},
		{"proven, but next to nothing was left", 70, 64, 70, []state.Capture{of(64, 1, nil)}},
		{"proven with a smaller image", 70, 64, 70, []state.Capture{of(64, 5, func(e *state.Capture) { e.Unpacked = mib })}},
		{"proven in emergency mode", 70, 64, 70, []state.Capture{of(64, 5, func(e *state.Capture) { e.Emergency = true })}},
		{"measured with more, enough", 70, 100, 70, []state.Capture{of(256, 176, nil)}},
		{"a driver takes 60 MiB", 70, 100, 128, []state.Capture{of(256, 125, nil)}},
		{"the same, and no more reserved than enough", 70, 136, 70, []state.Capture{of(256, 125, nil)}},
		{"senseless figures", 70, 64, 70, []state.Capture{of(0, 5, nil), of(64, -1, nil)}},
	} {
		got := c.Correct(tt.need*mib, tt.have*mib, tt.earlier)
		if d := got - tt.want*mib; d < -mib || d > mib {
			t.Errorf("%s: %d KiB, want %d MiB", tt.name, got/kib, tt.want)
		}
	}
}

func TestShortage(t *testing.T) {
	if err := Shortage(64*mib, 64*mib, ""); err != nil {
		t.Error(err)
	}
	for crashkernel, want := range map[string]string{
		"crashkernel=64M":                          "Run kdumpctl setup --crashkernel=256M --apply, and reboot.",
		"crashkernel=64M,high crashkernel=72M,low": "Run kdumpctl setup --crashkernel=256M,high --apply, and reboot.",
	} {
		if got := advice.For(Shortage(71*mib, 64*mib, crashkernel)); got != want {
			t.Errorf("%s: %s", crashkernel, got)
		}
	}
}

func TestReadMachine(t *testing.T) {
	root := t.TempDir()
	for _, dir := range []string{"sys/bus/pci/devices/0000:00:00.0", "sys/bus/pci/devices/0000:00:01.0", "sys/class/iommu/dmar0", "sys/devices/system/cpu"} {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for possible, cpus := range map[string]int{"0-7\n": 8, "0\n": 1, "0-99999999\n": 1, "-\n": 1, "": 1} {
		if err := os.WriteFile(filepath.Join(root, "sys/devices/system/cpu/possible"), []byte(possible), 0o644); err != nil {
			t.Fatal(err)
		}
		if m := ReadMachine(root); m != (Machine{CPUs: cpus, PCI: 2, IOMMUs: 1}) {
			t.Errorf("%q: %+v", possible, m)
		}
	}
	if m := ReadMachine(t.TempDir()); m != (Machine{CPUs: 1}) {
		t.Errorf("nothing there: %+v", m)
	}
}
