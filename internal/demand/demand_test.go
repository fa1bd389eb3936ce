package demand

import (
	"cmp"
	"os"
	"path/filepath"
	"testing"

	"ukdump/internal/advice"
	"ukdump/internal/kexec"
	"ukdump/internal/kfeature"
	"ukdump/internal/kimage"
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

// config is a configuration with these options and no other.
type config map[string]string

func (c config) Known() bool            { return true }
func (c config) Get(name string) string { return cmp.Or(c[name], "n") }
func (c config) Names(name string) bool { return c[name] != "" }

// small is the configuration of packaging/capture-kernel, as far as it matters here. all had
// the same parts built in, and without had not the parts that docs/measured.md names.
var (
	small = config{"CONFIG_NR_CPUS": "8", "CONFIG_MODULES": "y", "CONFIG_EXT4_FS": "y", "CONFIG_XFS_FS": "m", "CONFIG_BTRFS_FS": "m",
		"CONFIG_F2FS_FS": "m", "CONFIG_EXFAT_FS": "m", "CONFIG_USB": "m", "CONFIG_MMC": "m"}
	all = config{"CONFIG_NR_CPUS": "8", "CONFIG_EXT4_FS": "y", "CONFIG_XFS_FS": "y", "CONFIG_BTRFS_FS": "y", "CONFIG_F2FS_FS": "y",
		"CONFIG_EXFAT_FS": "y", "CONFIG_USB": "y", "CONFIG_MMC": "y"}
	without = config{"CONFIG_NR_CPUS": "8", "CONFIG_EXT4_FS": "y"}
)

// smallKernel returns a kernel of docs/measured.md.
// The init_size of the kernel "without" is not recorded: it is the rest of the 30.6 MiB of the
// warning that was seen, whose other parts were 3 MiB, the image and the pages.
func smallKernel(conf config) Capture {
	size := map[string]int64{"m": 14444 * kib, "y": 16564 * kib, "": 13926 * kib}[conf["CONFIG_USB"]]
	c := Capture{Arch: "amd64", Release: "6.12.118-ukdump", PageSize: 4096, InitSize: size,
		Packed: 3 * mib, Unpacked: 7 * mib, Cmdline: "nr_cpus=1", Config: conf}
	if conf["CONFIG_USB"] == "m" {
		c.Unpacked = 6554 * kib // a later version
	}
	return c
}

// The small capture kernels captured with these sizes, so there is no warning. "without" was
// slow with 28 MiB. "all" ended the first collector with 36 MiB, so 40 MiB are the least to
// propose.
func TestMeasuredSmall(t *testing.T) {
	linux7 := smallKernel(small)
	linux7.Release, linux7.InitSize, linux7.Packed, linux7.Unpacked = "7.2.13-ukdump", 12436*kib, 3618507, 8050123
	for _, tt := range []struct {
		name  string
		c     Capture
		works []int64 // MiB
		warns int64   // MiB; "all" has captured with 0.4 MiB to spare, "small" has not, "without" was not tried
		want  int64   // MiB, the recommended size
		until int64   // MiB, until a capture was measured
	}{
		{"small", smallKernel(small), []int64{28, 30, 32, 40}, 26, 40, 64},
		{"small, Linux 7.2", linux7, []int64{32, 34, 36, 40}, 30, 40, 64},
		{"without", smallKernel(without), []int64{28, 30, 32}, 26, 40, 64},
		{"all", smallKernel(all), []int64{36, 40, 48}, 34, 48, 72},
	} {
		c := tt.c
		for _, size := range tt.works {
			if need, have := c.Bytes(at(2000, size), Machine{CPUs: 1, PCI: 8}); need > have {
				t.Errorf("%s: needs %d KiB, but %d MiB were enough", tt.name, need/kib, size)
			}
		}
		need, have := c.Bytes(at(2000, tt.warns), Machine{CPUs: 1, PCI: 8})
		if need <= have {
			t.Errorf("%s: needs %d KiB, so no warning of %d MiB", tt.name, need/kib, tt.warns)
		}
		got := c.Smallest(Machine{CPUs: 1, PCI: 8}, nil)
		if got != tt.want*mib || c.Comfortable(got) != tt.until*mib {
			t.Errorf("%s: smallest %d MiB, comfortable %d MiB, want %d and %d", tt.name, got/mib, c.Comfortable(got)/mib, tt.want, tt.until)
		}
	}
}

// The small kernel of arm64 captured with 24 MiB, and with 22 MiB with next to nothing to
// spare; that of Linux 7 with 26 MiB, and with 24 MiB with next to nothing. With its modules
// built in it captured with 32 MiB. With 28 MiB the kernel ended the collectors, with 24 MiB it
// did not start.
func TestMeasuredSmallArm64(t *testing.T) {
	c := Capture{Arch: "arm64", PageSize: 4096, Cmdline: "nr_cpus=1"}
	m := Machine{CPUs: 1, PCI: 4}
	for _, tt := range []struct {
		release          string
		packed, unpacked int64 // KiB
		size             int64 // KiB, image_size
		config           config
		start            int64          // MiB
		works            map[int64]bool // by MiB
		smallest         int64          // MiB, the recommended size
	}{
		{"6.12.118-ukdump", 2752, 6350, 6208, small, 0xb86, map[int64]bool{22: false, 24: true, 32: true}, 32},
		{"7.2.13-ukdump", 3182, 7158, 6656, small, 0xb86, map[int64]bool{22: false, 24: false, 28: true, 32: true}, 32},
		{"6.12.118-ukdump", 2752, 6350, 8768, all, 0x78c, map[int64]bool{24: false, 28: false, 32: true, 40: true}, 40},
	} {
		c.InitSize, c.Config, c.Release, c.Packed, c.Unpacked = tt.size*kib, tt.config, tt.release, tt.packed*kib, tt.unpacked*kib
		for size, works := range tt.works {
			if need, have := c.Bytes(at(tt.start, size), m); (need <= have) != works {
				t.Errorf("image_size %d KiB: needs %d KiB, of %d MiB: works %v", tt.size, need/kib, size, works)
			}
		}
		if got := c.Smallest(m, nil); got != tt.smallest*mib {
			t.Errorf("image_size %d KiB: smallest %d MiB, want %d", tt.size, got/mib, tt.smallest)
		}
	}
	c.Config = config{"CONFIG_NR_CPUS": "8", "CONFIG_TRACING": "y"}
	if got, want := c.kernel(), c.InitSize+afterImage+afterInit; got != want {
		t.Errorf("with tracing: %d KiB, want %d", got/kib, want/kib)
	}
}

// A kernel with pages of 64 KiB and few drivers captured with 40 MiB, of which 2.3 MiB were
// left. With 32 MiB the kernel ended the collectors.
func TestMeasuredLargePages(t *testing.T) {
	c := Capture{Arch: "arm64", Release: "6.12.118-ukdump-file64k", PageSize: 64 << 10, InitSize: 8128 * kib,
		Packed: 2752 * kib, Unpacked: 6350 * kib, Cmdline: "nr_cpus=1", Config: without}
	for size, works := range map[int64]bool{32: false, 40: true, 48: true} {
		if need, have := c.Bytes(at(0x7d6, size), Machine{CPUs: 1, PCI: 4}); (need <= have) != works {
			t.Errorf("needs %d KiB, of %d MiB: works %v", need/kib, size, works)
		}
	}
	if got := c.Smallest(Machine{CPUs: 1, PCI: 4}, nil); got != 48*mib {
		t.Errorf("smallest %d MiB, want 48", got/mib)
	}
}

// The parts of a kernel depend on its configuration, in KiB beside init_size and image.
func TestConfig(t *testing.T) {
	const pages = 2 << 10
	for _, tt := range []struct {
		name    string
		release string
		words   string
		config  kfeature.Config
		cpus    int
		want    int64
	}{
		{"unknown", "6.12.1", "", nil, 1, 3 << 10},
		{"unknown, as kimage has it", "6.12.1", "", (*kimage.Config)(nil), 1, 3 << 10},
		{"modules and tracing", "6.12.1", "", config{"CONFIG_MODULES": "y", "CONFIG_TRACING": "y"}, 1, 3 << 10},
		{"modules", "6.12.1", "", config{"CONFIG_MODULES": "y"}, 1, 0},
		{"tracing", "6.12.1", "", config{"CONFIG_TRACING": "y"}, 1, 3 << 10},
		{"neither", "6.12.1", "", config{}, 1, 0},
		{"neither, with tracefs", "6.1.0", "", config{}, 1, 0},
		{"tracing with tracefs", "6.1.0", "", config{"CONFIG_TRACING": "y"}, 1, 3<<10 + 19<<9},
		{"buffers of a tracer", "6.12.1", "ftrace=function trace_buf_size=10M", config{"CONFIG_TRACING": "y"}, 1, 13 << 10},
		{"no tracer", "6.12.1", "ftrace=function trace_buf_size=10M", config{}, 1, 0},
		{"Linux 7", "7.2.1", "", config{}, 1, 3 << 10},
		{"Linux 7 with tracing", "7.2.1", "", config{"CONFIG_TRACING": "y"}, 1, 10 << 10},
		{"one of the drivers", "6.12.1", "", config{"CONFIG_MMC": "y"}, 1, 2 << 10},
		{"drivers of a kernel with modules", "6.12.1", "", config{"CONFIG_MODULES": "y", "CONFIG_USB": "y"}, 1, 2 << 10},
		{"drivers as modules", "6.12.1", "", config{"CONFIG_MODULES": "y", "CONFIG_USB": "m"}, 1, 0},
		{"drivers of a kernel with tracing", "6.12.1", "", config{"CONFIG_TRACING": "y", "CONFIG_USB": "y"}, 1, 3 << 10},
		{"btrfs", "6.17.9", "", config{"CONFIG_BTRFS_FS": "y"}, 1, 3481},
		{"btrfs of a kernel with modules", "6.12.1", "", config{"CONFIG_MODULES": "y", "CONFIG_BTRFS_FS": "y"}, 1, 3481},
		{"btrfs as a module", "6.12.1", "", config{"CONFIG_MODULES": "y", "CONFIG_BTRFS_FS": "m"}, 1, 0},
		{"btrfs that reserves at the mount", "6.18.0", "", config{"CONFIG_BTRFS_FS": "y"}, 1, 0},
		{"fewer processors than the machine", "6.12.1", "", config{"CONFIG_NR_CPUS": "8"}, 64, 7 << 10},
		{"fewer processors than nr_cpus", "6.12.1", "nr_cpus=32", config{"CONFIG_NR_CPUS": "8"}, 64, 7 << 10},
		{"more processors than nr_cpus", "6.12.1", "nr_cpus=2", config{"CONFIG_NR_CPUS": "8192"}, 64, 1 << 10},
		{"senseless number of processors", "6.12.1", "nr_cpus=2", config{"CONFIG_NR_CPUS": "-8"}, 64, 1 << 10},
	} {
		c := Capture{Arch: "amd64", PageSize: 4096, Release: tt.release, Cmdline: tt.words, InitSize: 16 * mib, Config: tt.config}
		need, _ := c.Bytes(at(16, 64), Machine{CPUs: tt.cpus})
		if got := (need-c.InitSize)/kib - pages; got != tt.want {
			t.Errorf("%s: %d KiB, want %d", tt.name, got, tt.want)
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
		{"arm64, pages of 64 KiB, rounded down", func(c *Capture) { c.Arch, c.PageSize = "arm64", 65536 }, at(1024, 100), Machine{}, 28},
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
	starved := func(e *state.Capture) { e.Complete, e.OutOfMemory = false, true }
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
		{"ran out of as much", 70, 100, 102, []state.Capture{of(100, 3, starved)}},
		{"ran out of more", 70, 100, 130, []state.Capture{of(128, 3, starved)}},
		{"ran out of less", 70, 100, 70, []state.Capture{of(64, 3, starved)}},
		{"ran out of as much, and later it was enough", 70, 100, 70, []state.Capture{of(100, 3, starved), of(100, 5, nil)}},
		{"it was enough, and a later one ran out of as much", 70, 100, 102, []state.Capture{of(100, 5, nil), of(100, 3, starved)}},
		{"senseless figures", 70, 64, 70, []state.Capture{of(0, 5, nil), of(64, -1, nil)}},
	} {
		got := c.Correct(tt.need*mib, tt.have*mib, tt.earlier)
		if d := got - tt.want*mib; d < -mib || d > mib {
			t.Errorf("%s: %d KiB, want %d MiB", tt.name, got/kib, tt.want)
		}
	}
}

// A target on S3 needs memory for a part of the vmcore, which no capture to a disk has shown.
func TestUploads(t *testing.T) {
	c := Capture{Arch: "amd64", Release: "6.1.0", PageSize: 4096, InitSize: 60 * mib, Packed: 3 * mib, Unpacked: 7 * mib}
	plain, have := c.Bytes(at(1920, 96), Machine{CPUs: 1})
	c.Uploads = true
	if need, _ := c.Bytes(at(1920, 96), Machine{CPUs: 1}); need != plain+5*mib {
		t.Errorf("needs %d KiB, want %d", need/kib, (plain+5*mib)/kib)
	}
	c.LogOnly = true
	if need, _ := c.Bytes(at(1920, 96), Machine{CPUs: 1}); need != plain {
		t.Errorf("the log alone needs %d KiB, want %d", need/kib, plain/kib)
	}
	c.LogOnly = false
	for _, tt := range []struct{ lowest, want int64 }{{lowest: 5 * mib, want: have + mib}, {lowest: 9 * mib, want: have}} {
		earlier := []state.Capture{{Release: "6.1.0", Complete: true, Memory: have, Packed: c.Packed, Unpacked: c.Unpacked, Lowest: tt.lowest}}
		if got := c.Correct(have+mib, have, earlier); got != tt.want {
			t.Errorf("after a capture that left %d MiB: %d KiB, want %d", tt.lowest/mib, got/kib, tt.want/kib)
		}
	}
	c.LogOnly = true
	earlier := []state.Capture{{Release: "6.1.0", LogOnly: true, Complete: true, Memory: have, Packed: c.Packed, Unpacked: c.Unpacked, Lowest: 5 * mib}}
	if got := c.Correct(have+mib, have, earlier); got != have {
		t.Errorf("after a capture of the log alone: %d KiB, want %d", got/kib, have/kib)
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
	for need, want := range map[int64]string{28: "64M", 36: "80M", 48: "96M", 49: "256M", 160: "320M"} {
		if got := advice.For(Shortage(need*mib, 16*mib, "crashkernel=16M")); got != "Run kdumpctl setup --crashkernel="+want+" --apply, and reboot." {
			t.Errorf("%d MiB: %s", need, got)
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
