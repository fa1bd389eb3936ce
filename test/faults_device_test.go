package test

import (
	"time"

	"ukdump/internal/vmtest"
	"ukdump/test/debian"
)

// Actions of the host on the disk of the target, which QEMU calls disk1.
func failReads(m *debian.Machine, _ *vmtest.VM) error  { return m.NBD("target").FailReads() }
func failWrites(m *debian.Machine, _ *vmtest.VM) error { return m.NBD("target").FailWrites() }
func freeze(m *debian.Machine, _ *vmtest.VM) error     { return m.NBD("target").Freeze() }

func unplug(_ *debian.Machine, vm *vmtest.VM) error {
	_, err := vm.Monitor("device_del disk1")
	return err
}

// plug puts back a disk on virtio-scsi that unplug has removed.
func plug(m *debian.Machine, vm *vmtest.VM) error { return plugAs(m, vm, "") }

// protect makes the disk read-only, as a switch on it would.
func protect(m *debian.Machine, vm *vmtest.VM) error {
	if err := unplug(m, vm); err != nil {
		return err
	}
	return plugAs(m, vm, ",readonly=on")
}

func plugAs(m *debian.Machine, vm *vmtest.VM, options string) error {
	// The image goes with the disk, some time later: QEMU's -drive belongs to
	// the device.
	const drive = "again"
	for try := 0; ; try++ {
		_, err := vm.Monitor("drive_add 0 file=" + m.Dir + "/target.img,format=raw,if=none,id=" + drive + options)
		if err == nil {
			_, err = vm.Monitor("device_add scsi-hd,drive=" + drive + ",bus=disk1-bus.0,serial=target")
		}
		if err == nil || try == 20 {
			return err
		}
		vm.Monitor("drive_del " + drive)
		time.Sleep(250 * time.Millisecond)
	}
}

// thaw lets a frozen disk answer again after the capture: QEMU waits for the
// disk before it resets the machine. reboot(2) may hang before that.
func thaw(disk string) event {
	return event{line: "kdumpinit: outcome", after: 45 * time.Second, do: func(m *debian.Machine, _ *vmtest.VM) error { return m.NBD(disk).Heal() }}
}

// throttle slows writes down to 300 kB a second.
func throttle(_ *debian.Machine, vm *vmtest.VM) error {
	_, err := vm.Monitor("block_set_io_throttle disk1-image 0 0 300000 0 0 0")
	return err
}

// inTheMiddle makes the disk slow: three seconds after a collector was started, its
// output is not yet on the disk.
func inTheMiddle(do func(*debian.Machine, *vmtest.VM) error) []event {
	return []event{{line: atDumping, do: throttle}, {after: 3 * time.Second, do: do}}
}

// Lines of the console.
const (
	atPanic   = "Kernel panic - not syncing"
	atDevice  = "kdumpinit: waiting up to"
	atMounted = "kdumpinit: mounted"
	atWriting = "kdumpinit: writing to"
	atDumping = "kdumpinit: makedumpfile"
)

// deviceFaults are disks that fail or disappear. The first target is on them.
var deviceFaults = []fault{
	{name: "eio-on-write-from-the-beginning", fs: "ext4", nbd: true, events: []event{{line: atDevice, do: failWrites}},
		want: want{outcomes: complete, dir: "/var/crash"}},
	{name: "eio-on-write-after-mount", ci: true, fs: "ext4", nbd: true, events: []event{{line: atWriting, do: failWrites}},
		want: want{outcomes: complete, dir: "/var/crash"}},
	{name: "eio-on-write-in-the-middle", fs: "ext4", nbd: true, events: inTheMiddle(failWrites),
		want: want{outcomes: complete, dir: "/var/crash", dmesg: "/dump"}},
	{name: "eio-on-write-in-the-middle-xfs", fs: "xfs", nbd: true, events: inTheMiddle(failWrites),
		want: want{outcomes: complete, dir: "/var/crash"}},
	{name: "eio-on-write-in-the-middle-btrfs", fs: "btrfs", nbd: true, events: inTheMiddle(failWrites),
		want: want{outcomes: complete, dir: "/var/crash"}},
	{name: "eio-on-read", fs: "ext4", nbd: true, events: []event{{line: atPanic, do: failReads}},
		want: want{outcomes: complete, dir: "/var/crash"}},
	{name: "eio-on-read-after-mount", fs: "ext4", nbd: true, events: []event{{line: atMounted, do: failReads}},
		want: want{outcomes: anything}},
	{name: "disk-stops-answering", fs: "ext4", nbd: true, change: []string{hurry}, events: []event{{line: atWriting, do: freeze}, thaw("target")},
		want: want{outcomes: anything, within: 4 * time.Minute}},
	{name: "disk-stops-answering-before-mount", fs: "ext4", nbd: true, change: []string{hurry}, events: []event{{line: atPanic, do: freeze}, thaw("target")},
		want: want{outcomes: anything, within: 4 * time.Minute}},
	{name: "b8-device-never-appears", ci: true, fs: "ext4", bus: vmtest.VirtioSCSI, change: []string{hurry}, events: []event{{line: atPanic, do: unplug}},
		want: want{outcomes: complete, dir: "/var/crash", says: "did not appear"}},
	{name: "device-gone-in-the-middle", fs: "ext4", bus: vmtest.VirtioSCSI, change: []string{hurry}, events: inTheMiddle(unplug),
		want: want{outcomes: complete, dir: "/var/crash"}},
	{name: "device-gone-in-the-middle-usb", flavour: debian.Generic, fs: "xfs", bus: vmtest.USB, change: []string{hurry}, events: inTheMiddle(unplug),
		want: want{outcomes: complete, dir: "/var/crash"}},
	{name: "device-appears-late", fs: "ext4", bus: vmtest.VirtioSCSI, events: []event{{line: atPanic, do: unplug}, {line: atDevice, after: 10 * time.Second, do: plug}},
		want: want{outcomes: complete, dir: "/dump"}},
	{name: "device-taken-off-the-bus", fs: "ext4", change: []string{hurry, "collector=first unplug"},
		want: want{outcomes: complete, dir: "/var/crash"}},
	{name: "disk-read-only", fs: "ext4", bus: vmtest.VirtioSCSI, events: []event{{line: atPanic, do: protect}},
		want: want{outcomes: complete, dir: "/var/crash"}},
}
