package test

import (
	"crypto/rand"
	"regexp"
	"strings"
	"testing"
	"time"

	"ukdump/internal/vmtest"
	"ukdump/test/debian"
)

// damageTarget makes a file system on another disk, loads, and then moves the superblock of the target, an ext4, to the unused
// block in front of it.
const damageTarget = `. /ukdump-test/lib.sh
. /ukdump-test/cell
make_target && mount_target || fail 'no target'
other=$(new_disk other)
mkfs.ext4 -q -F $other
kdumpctl load || fail 'not loaded'
dev=$(findmnt -nvo SOURCE /var/crash)
umount /var/crash
dd if=$dev of=$dev bs=1024 skip=1 count=1 conv=notrunc,fsync
dd if=/dev/zero of=$dev bs=1024 seek=1 count=1 conv=notrunc,fsync
say "the target is $dev, the other disk is $other"
say "$mark"
echo c >/proc/sysrq-trigger
`

// TestRescue types on the console of a machine whose target cannot be mounted: it
// saves the dump to another disk, repairs the target, captures again, and both dumps are
// complete.
func TestRescue(t *testing.T) {
	if vmSet(t) != "matrix" {
		t.Skip("UKDUMP_VM=matrix only: it waits for a missing disk")
	}
	root, payload := lab(t, "bookworm")
	mark, l := "mark-"+rand.Text(), layouts["ext4"]
	h := debian.Hardware{Root: root, Flavour: debian.Cloud}
	for _, name := range l.disks() {
		h.Disks = append(h.Disks, debian.Disk{Name: name})
	}
	h.Disks = append(h.Disks, debian.Disk{Name: "other"})
	m, err := debian.New(t.Context(), "rescue", h)
	if err != nil {
		t.Fatal(err)
	}
	payload = payload.With("ukdump-test/cell", l.script(mark)).
		With("etc/ukdump.conf.d/shell.conf", "TARGET=/var/crash\nFAILURE_ACTION=shell\nTIMEOUT=3min\n")
	payload.Run = damageTarget
	vm, err := m.Boot(t.Context(), debian.Boot{Name: "crash", Init: debian.Quick, Payload: payload, Cmdline: reservation + " panic=5", Deadline: bootLimit})
	if err == nil {
		err = repair(vm, mark)
	}
	if err == nil {
		err = vm.Wait()
	}
	if err != nil {
		t.Fatalf("%v\n--- its disks and logs are kept in %s", err, m.Dir)
	}
	payload.Run = ". /ukdump-test/after\n"
	runMachine(t, m, debian.Boot{Name: "after", Init: debian.Quick, Payload: payload, Cmdline: "panic=5", Deadline: bootLimit}, "results written")
	dir, err := m.Results()
	if err != nil {
		t.Fatal(err)
	}
	if err := checkDump(dir, mark, cell{suite: "bookworm", flavour: debian.Cloud, layout: "ext4"}); err != nil {
		t.Fatalf("%v\n--- its disks and logs are kept in %s", err, m.Dir)
	}
	if err := m.Remove(); err != nil {
		t.Error(err)
	}
}

// repair is the person at the console.
func repair(vm *vmtest.VM, mark string) error {
	for _, line := range []string{
		"ukdump-test: " + mark,
		"ukdump-rescue: this machine crashed", "Crash:  Kernel panic", "Error:  device: ext4 file system", "Saved:  nothing",
		"the shell ends after 10 minutes: reboot",
	} {
		if err := vm.Expect(line, bootLimit); err != nil {
			return err
		}
	}
	found := regexp.MustCompile(`the target is /dev/(\w+), the other disk is /dev/(\w+)`).FindStringSubmatch(strings.Join(vm.Console(), "\n"))
	if found == nil {
		return vm.Fail("the machine did not name its target")
	}
	dev, other := found[1], found[2]
	for _, step := range []struct{ typed, shown string }{
		{"echo it is $((6 * 7))", "it is 42"},
		{"echo it will take; sleep 10000", "it will take"},
		{"\x03", "interrupted"},
		{"lsblk | grep " + dev, " 2048.0 MiB "},
		{"blkid " + dev, "no known file system"},
		{"save /tmp", "/tmp is in memory"},
		{"save " + other, "saved /run/ukdump/save/"}, // the log
		{"mount -r " + other + " /tmp && ls /tmp/20*", "vmcore-dmesg.txt"},
		{"grep outcome /tmp/20*/report.json", `"outcome": "complete"`},
		{"umount /tmp; mount | grep -v /tmp | grep /dev/" + other + " || echo it is unmounted", "it is unmounted"},
		{"dd if=/dev/" + dev + " of=/dev/" + dev + " bs=1K count=1 seek=1", "1024 bytes copied"},
		{"blkid " + dev, "TYPE=ext4"},
		{"capture", "outcome: complete: reboot"},
	} {
		if err := vm.Type(step.typed); err != nil {
			return err
		}
		if err := vm.Expect(step.shown, 5*time.Minute); err != nil {
			return err
		}
	}
	return nil
}

// What a shell does without anybody, and the shell of busybox where ukdump-rescue is not
// installed.
func TestRescueShells(t *testing.T) {
	if vmSet(t) != "matrix" {
		t.Skip("UKDUMP_VM=matrix only: it waits for a missing disk")
	}
	const conf = "TARGET=/var/crash\nFAILURE_ACTION=shell\nTIMEOUT=1min\n"
	for _, tt := range []struct {
		name, conf, prepare string
		says                []string
		typed               []string
		ends                []string
	}{
		{name: "nobody", conf: conf + "SHELL_TIMEOUT=60s\n",
			says: []string{"the shell ends after 1 minute: reboot", "no input: reboot in", "reboot: Restarting system"}},
		{name: "busybox", conf: conf, prepare: "rm /usr/lib/ukdump/ukdump-rescue\n",
			says: []string{"starting the configured shell on the console; when it ends: reboot"}, typed: []string{"echo it is $((6 * 7))", "exit"},
			ends: []string{"it is 42", "the shell ended: exit status 0"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			root, payload := lab(t, "bookworm")
			mark, l := "mark-"+rand.Text(), layouts["ext4"]
			h := debian.Hardware{Root: root, Flavour: debian.Cloud}
			for _, name := range append(l.disks(), "other") {
				h.Disks = append(h.Disks, debian.Disk{Name: name})
			}
			m, err := debian.New(t.Context(), "rescue-"+tt.name, h)
			if err != nil {
				t.Fatal(err)
			}
			payload = payload.With("ukdump-test/cell", l.script(mark)).With("etc/ukdump.conf.d/shell.conf", tt.conf)
			payload.Run = tt.prepare + damageTarget
			vm, err := m.Boot(t.Context(), debian.Boot{Name: "crash", Init: debian.Quick, Payload: payload, Cmdline: reservation + " panic=5", Deadline: bootLimit})
			for _, line := range append([]string{"ukdump-test: " + mark}, tt.says...) {
				if err == nil {
					err = vm.Expect(line, bootLimit)
				}
			}
			for _, line := range tt.typed {
				if err == nil {
					err = vm.Type(line)
				}
			}
			if err == nil {
				err = vm.Wait()
			}
			for _, line := range tt.ends {
				if err == nil {
					err = vm.Expect(line, 0)
				}
			}
			if err != nil {
				t.Fatalf("%v\n--- its disks and logs are kept in %s", err, m.Dir)
			}
			if err := m.Remove(); err != nil {
				t.Error(err)
			}
		})
	}
}
