package builder

import (
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"

	"ukdump/internal/makedumpfile"
	"ukdump/internal/plan"
)

// usb2 is the signalling rate of USB 2 in Mbit/s, as in the file speed of its devices
// (Documentation/ABI/stable/sysfs-bus-usb).
const usb2 = 480

// compression chooses the compression of the vmcore and sets CompressWhy. zstd makes an
// eighth to a quarter less of the pages than lzo in twice the time (docs/measured.md). One
// processor does that to 100 to 200 MB of lzo in a second, so zstd pays only where less can
// be written, and with more processors on hard disks, too.
func (b *Build) compression(m *makedumpfile.Program, want string) (string, error) {
	slow := b.slowTarget()
	compress, err := m.Choose(want, slow != "")
	switch {
	case want != "auto":
		b.CompressWhy = "COMPRESS=" + want
	case compress == "zlib":
		b.CompressWhy = "makedumpfile has no other"
	case compress == "zstd" && slow != "":
		b.CompressWhy = slow + " is slower than the processor"
		if b.CPUs > 1 {
			b.CompressWhy = fmt.Sprintf("%s is slower than %d processors", slow, b.CPUs)
		}
	case slow != "":
		b.CompressWhy = slow + " is slow, but makedumpfile has no zstd"
	case compress == "zstd":
		b.CompressWhy = "makedumpfile has neither lzo nor snappy"
	default:
		b.CompressWhy = "it takes the least time of the processor"
	}
	b.Compress = compress
	return compress, err
}

// slowTarget describes the first target if it takes less than zstd leaves, "" if not.
func (b *Build) slowTarget() string {
	if len(b.Plan.Targets) == 0 {
		return ""
	}
	t := b.Plan.Targets[0]
	if t.Kind.Remote() {
		return "the network"
	}
	devices := []plan.Device{t.Device}
	for _, l := range t.Layers {
		devices = append(devices, l.Members...)
	}
	for _, d := range devices {
		parts := strings.Split(d.Path, "/")
		if slices.Contains(parts, "mmc_host") {
			return "a memory card"
		}
		if speed := b.usbSpeed(parts); speed > 0 && speed <= usb2 {
			return "USB 2"
		}
		if b.CPUs > 1 && b.rotates(parts) {
			return "a hard disk"
		}
	}
	return ""
}

// rotates reports whether the disk in a path below /sys/devices is a hard disk
// (Documentation/ABI/stable/sysfs-block). Virtual disks of virtio say so, too.
func (b *Build) rotates(parts []string) bool {
	virtual := slices.ContainsFunc(parts, func(s string) bool { return strings.HasPrefix(s, "virtio") })
	return !virtual && b.nearest(parts, "queue/rotational") == "1" // a partition has no queue
}

// usbSpeed returns the speed of the USB device in a path below /sys/devices in Mbit/s, 0
// if there is none.
func (b *Build) usbSpeed(parts []string) int {
	speed := b.nearest(parts, "speed")
	if speed == "" {
		return 0
	}
	mbits, _ := strconv.ParseFloat(speed, 64) // 1.5 is there too
	return int(max(mbits, 1))
}

// nearest returns an attribute of the device in a path below /sys/devices, or of the nearest
// above it that has one. It is empty if none has.
func (b *Build) nearest(parts []string, attribute string) string {
	for n := len(parts); n > 0; n-- {
		data, err := b.host.ReadFile(path.Join("/sys/devices", path.Join(parts[:n]...), attribute))
		if err == nil {
			return strings.TrimSpace(string(data))
		}
	}
	return ""
}
