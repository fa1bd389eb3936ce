package demand

import (
	"testing"

	"ukdump/internal/builder"
	"ukdump/internal/host"
	"ukdump/internal/kexec"
)

// stackOn returns the stack of a target on one disk, whose controller has addresses of
// so many bits.
func stackOn(target, driver string, bits int) builder.Stack {
	const dir = "/sys/devices/pci0000:00/0000:00:01.1"
	return builder.Stack{
		Target:  target,
		Blocks:  []host.BlockDevice{{Name: "sda1", Path: dir + "/block/sda/sda1", Below: []string{"sda"}}, {Name: "sda", Path: dir + "/block/sda"}},
		Devices: []host.Device{{Path: dir, Subsystem: "pci", Driver: driver, DMABits: bits}},
	}
}

func TestReachAll(t *testing.T) {
	for _, tt := range []struct {
		bits []int
		want bool
	}{{nil, true}, {[]int{64}, true}, {[]int{64, 48}, true}, {[]int{64, 32}, false}, {[]int{0}, false}} {
		var targets []builder.Stack
		for _, n := range tt.bits {
			targets = append(targets, stackOn("/var/crash", "x", n))
		}
		if got := ReachAll(targets); got != tt.want {
			t.Errorf("%d: %t", tt.bits, got)
		}
	}
}

func TestReachOf(t *testing.T) {
	high := at(5000, 192)
	with := func(start, low int64) *kexec.Memory {
		return &kexec.Memory{Main: 192 * mib, Low: low * mib, Ranges: append(at(start, low).Ranges, high.Ranges...)}
	}
	ide, nvme, card := stackOn("/var/crash", "ata_piix", 32), stackOn("/srv", "nvme", 64), stackOn("/mnt", "sdhci-iproc", 30)
	for _, tt := range []struct {
		name    string
		r       *kexec.Memory
		release string
		targets []builder.Stack
		lost    int
		unknown int
		all     bool
	}{
		{"below 4 GiB", at(2000, 192), "6.1.0", []builder.Stack{ide}, 0, 0, false},
		{"addresses unknown", &kexec.Memory{Main: 192 * mib}, "6.1.0", []builder.Stack{ide}, 0, 0, false},
		{"high alone, IDE", high, "6.1.0", []builder.Stack{ide}, 1, 0, true},
		{"high alone, NVMe", high, "6.1.0", []builder.Stack{nvme}, 0, 0, false},
		{"high alone, IDE and NVMe", high, "6.1.0", []builder.Stack{ide, nvme}, 1, 0, false},
		{"high alone, not known", high, "6.1.0", []builder.Stack{stackOn("/", "x", 0)}, 0, 1, false},
		{"low, not known", with(2900, 72), "6.1.0", []builder.Stack{stackOn("/", "x", 0)}, 0, 0, false},
		{"72 MiB low", with(2900, 72), "6.1.0", []builder.Stack{ide}, 0, 0, false},
		{"64 MiB low", with(2900, 64), "6.1.0", []builder.Stack{ide}, 1, 0, true},
		{"48 MiB low", with(2900, 48), "6.1.0", []builder.Stack{ide}, 0, 0, false},
		{"48 MiB low, 5.10", with(2900, 48), "5.10.0", []builder.Stack{ide}, 1, 0, true},
		{"across 4 GiB", at(4000, 192), "6.1.0", []builder.Stack{ide}, 0, 0, false},
		{"a card that reaches 1 GiB, memory at 3 GiB", at(3000, 192), "6.1.0", []builder.Stack{card}, 1, 0, true},
		{"a card that reaches 1 GiB, memory below", at(700, 192), "6.1.0", []builder.Stack{card}, 0, 0, false},
		{"a card that reaches 1 GiB, high and low", with(800, 128), "6.12.0", []builder.Stack{card}, 0, 0, false},
		{"no targets", high, "6.1.0", nil, 0, 0, false},
	} {
		got := ReachOf(tt.r, tt.release, tt.targets)
		if len(got.Lost) != tt.lost || len(got.Unknown) != tt.unknown || got.All != tt.all {
			t.Errorf("%s: %+v", tt.name, got)
		}
	}
}
