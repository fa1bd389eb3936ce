package demand

import (
	"testing"

	"ukdump/internal/state"
)

// The recommended reservation is at least the smallest with which a crash was captured
// (docs/measured.md), and no more than a quarter above that.
func TestSmallest(t *testing.T) {
	const cloud, generic = 52700 * kib, 65120 * kib
	for _, tt := range []struct {
		name  string
		c     Capture
		works int64 // MiB
	}{
		{"6.1, cloud", Capture{InitSize: cloud, Packed: 3113504, Unpacked: 7047136}, 72},
		{"6.1, generic", Capture{InitSize: generic, Packed: 3724254, Unpacked: 9549354}, 88},
		{"6.12", Capture{Release: "6.12.118+deb13-amd64", InitSize: 57272 * kib, Packed: 4784266, Unpacked: 9417000}, 75},
		{"7.2", Capture{Release: "7.2.13+deb14-cloud-amd64", InitSize: 61676 * kib, Packed: 4784266, Unpacked: 9417000}, 87},
	} {
		tt.c.Arch, tt.c.PageSize, tt.c.Cmdline = "amd64", 4096, lockdown
		if tt.c.Release == "" {
			tt.c.Release = "6.1.0-56-amd64"
		}
		got := tt.c.Smallest(Machine{CPUs: 4}, nil) / mib
		if got < tt.works || got > tt.works*5/4 {
			t.Errorf("%s: %d MiB, but %d MiB are the smallest", tt.name, got, tt.works)
		}
	}
}

// Captures of this machine count if they have shown more than the estimate knows.
func TestSmallestMeasured(t *testing.T) {
	c := Capture{Arch: "amd64", PageSize: 4096, Release: "6.12.1", InitSize: 50 * mib, Packed: 4 * mib, Unpacked: 8 * mib, Cmdline: "nr_cpus=1"}
	plain := c.Smallest(Machine{}, nil)
	of := func(memory, lowest int64) []state.Capture {
		return []state.Capture{{Release: c.Release, Complete: true, Memory: memory * mib, Packed: c.Packed, Unpacked: c.Unpacked, Lowest: lowest * mib}}
	}
	if got := c.Smallest(Machine{}, of(256, 200)); got != plain {
		t.Errorf("a capture with much to spare: %d MiB, want %d", got/mib, plain/mib)
	}
	got := c.Smallest(Machine{}, of(256, 60))
	if got < 200*mib || got > 240*mib { // 196 MiB were used
		t.Errorf("a capture that used 196 MiB: %d MiB", got/mib)
	}
	other := of(256, 60)
	other[0].Release = "6.1.0"
	if got := c.Smallest(Machine{}, other); got != plain {
		t.Errorf("a capture of another kernel: %d MiB, want %d", got/mib, plain/mib)
	}
	c.InitSize = 1 << 40
	if got := c.Smallest(Machine{}, nil); got != 0 {
		t.Errorf("a kernel of nonsense: %d MiB", got/mib)
	}
}

func TestComfortable(t *testing.T) {
	for _, tt := range []struct {
		kernel, smallest, want int64 // MiB
	}{
		{50, 0, 128}, {50, 72, 128}, {50, 80, 128}, {50, 88, 160}, {50, 104, 160}, {50, 256, 384},
		{30, 40, 128}, // not known to be without modules and tracing
		{16, 24, 64}, {16, 40, 64}, {16, 48, 72}, {16, 56, 88}, {16, 256, 384},
	} {
		c := Capture{Arch: "amd64", Release: "6.12.1", InitSize: tt.kernel * mib}
		if got := c.Comfortable(tt.smallest*mib) / mib; got != tt.want {
			t.Errorf("kernel of %d MiB, %d MiB: %d MiB, want %d", tt.kernel, tt.smallest, got, tt.want)
		}
	}
}
