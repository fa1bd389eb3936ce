package test

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"ukdump/internal/crashdir"
	"ukdump/internal/vmtest"
	"ukdump/test/debian"
	"ukdump/test/faultlab/found"
)

// emergencyReservation is the least that the distribution's own initramfs
// needs.
const emergencyReservation = "crashkernel=256M"

// emergencyCell is one machine of TestEmergency.
type emergencyCell struct {
	name string
	disk string // the root disk; bookworm-stock if empty
	peer bool   // simple-kdump itself, not ukdump
	root string // the root in BOOT_OPTIONS of simple-kdump.conf
	conf string // ukdump's own lines beside it
	erst bool   // storage for pstore

	prepare string // in the guest, before the load
	inject  string // just before the crash
	mount   string // in the boot after the crash

	hangs bool // the machine must not come back
	shows string
	want  crashdir.Outcome // none: no dump has the log of this crash
	via   string           // pstore: the log must be there
}

const (
	emergencyRoot = "root=LABEL=ukdump-root rw"
	noRoot        = "root=UUID=00000000-0000-4000-8000-000000000000 rw"
	fillRoot      = "faultlab fill /var/crash 6000"
	// /var/crash is a mount of its own: udev must find its disk.
	ownMount = "mkfs.ext4 -q -L dumps $(new_disk dumps) && echo 'LABEL=dumps /var/crash ext4 defaults 0 0' >>/etc/fstab && systemctl daemon-reload && mount /var/crash"
	// The same on an encrypted volume that systemd opens with a key file.
	keyFile = "modprobe dm_crypt && dev=$(new_disk dumps) && dd if=/dev/urandom of=/root/key bs=64 count=1 2>/dev/null && " +
		"cryptsetup luksFormat -q --type luks2 --pbkdf pbkdf2 --pbkdf-force-iterations 1000 $dev /root/key && " +
		"cryptsetup open --key-file=/root/key $dev dumps && mkfs.ext4 -q -L dumps /dev/mapper/dumps && " +
		"echo \"dumps UUID=$(blkid -c /dev/null -p -o value -s UUID $dev) /root/key luks\" >>/etc/crypttab && " +
		"echo '/dev/mapper/dumps /var/crash ext4 defaults 0 0' >>/etc/fstab && systemctl daemon-reload && mount /var/crash"
	mountAgain = "mountpoint -q /var/crash || mount /var/crash"
)

// Both tools use the same simple-kdump.conf. The peer's rows follow from its documented
// behaviour.
var emergencyCells = []emergencyCell{
	{name: "plain", root: emergencyRoot, want: crashdir.Complete},
	{name: "peer-plain", peer: true, root: emergencyRoot, want: crashdir.Complete},
	{name: "full-disk", root: emergencyRoot, inject: fillRoot, want: crashdir.DmesgOnly},
	{name: "peer-full-disk", peer: true, root: emergencyRoot, inject: fillRoot, want: none},
	// The initramfs waits for an absent root, then opens a shell. Other initramfs ask
	// for a passphrase in the same way.
	{name: "prompt", root: noRoot, conf: "TIMEOUT=5min", erst: true, shows: "Dropping to a shell", want: crashdir.Failed, via: "pstore"},
	{name: "peer-prompt", peer: true, root: noRoot, erst: true, shows: "Dropping to a shell", hangs: true},
	{name: "own-mount", root: "root=LABEL=ukdump-root ro", prepare: ownMount, mount: mountAgain, want: crashdir.Complete},
	{name: "luks-key-file", root: emergencyRoot, prepare: keyFile, mount: mountAgain, want: crashdir.Complete},
	{name: "read-only-root", root: "root=LABEL=ukdump-root ro", want: crashdir.Complete},
	{name: "dracut", disk: "bookworm-dracut", root: "root=LABEL=ukdump-root ro", want: crashdir.Complete},
	{name: "dracut-own-mount", disk: "bookworm-dracut", root: "root=LABEL=ukdump-root ro", prepare: ownMount, mount: mountAgain, want: crashdir.Complete},
	{name: "dracut-prompt", disk: "bookworm-dracut", root: noRoot, conf: "TIMEOUT=5min", erst: true, shows: "has not come as far as the capture", want: crashdir.Failed, via: "pstore"},
}

// TestEmergency crashes machines whose capture kernel starts the distribution's own
// initramfs and systemd, with ukdump and with simple-kdump.
func TestEmergency(t *testing.T) {
	if vmSet(t) != "matrix" {
		t.Skip("one of the matrix")
	}
	for _, c := range emergencyCells {
		t.Run(c.name, func(t *testing.T) {
			disk := c.disk
			if disk == "" {
				disk = "bookworm-stock"
			}
			root, payload := lab(t, disk)
			if err := buildFaultlab(installed.dir); err != nil {
				t.Fatal(err)
			}
			payload.Trees = append(payload.Trees, installed.dir+"/faultlab")
			m, err := debian.New(t.Context(), "emergency-"+c.name, debian.Hardware{
				Root: root, Flavour: debian.Cloud, ERST: c.erst, Disks: []debian.Disk{{Name: "dumps"}},
			})
			if err != nil {
				t.Fatal(err)
			}
			if err := c.run(t, m, payload); err != nil {
				t.Fatalf("%v\n--- its disks and logs are kept in %s", err, m.Dir)
			}
			if err := m.Remove(); err != nil {
				t.Error(err)
			}
		})
	}
}

func (c emergencyCell) run(t *testing.T, m *debian.Machine, payload debian.Payload) error {
	mark := "mark-emergency-" + c.name
	ours := "yes"
	if c.peer {
		ours = ""
	}
	payload = payload.With("ukdump-test/cell", fmt.Sprintf("mark=%s\nours=%s\nroot='%s'\nconf='%s'\nprepare() {\n%s\n}\ninject() {\n%s\n}\nmount_target() {\n%s\n}\n",
		mark, ours, c.root, c.conf, orTrue(c.prepare), orTrue(c.inject), orTrue(c.mount)))
	boot := func(name, run string, deadline time.Duration) (*vmtest.VM, error) {
		payload.Run = run
		return m.Boot(t.Context(), debian.Boot{Name: name, Payload: payload, Deadline: deadline,
			Cmdline: emergencyReservation + " panic=5 printk.devkmsg=on"})
	}
	vm, err := boot("crash", ". /ukdump-test/emergency\n", 12*time.Minute)
	if err != nil {
		return err
	}
	if err := vm.Expect("ukdump-test: "+mark, 5*time.Minute); err != nil {
		vm.Kill()
		return err
	}
	start := time.Now()
	if c.shows != "" {
		if err := vm.Expect(c.shows, 3*time.Minute); err != nil {
			vm.Kill()
			return err
		}
	}
	err = vm.WaitFor(4 * time.Minute)
	if c.hangs {
		if err == nil {
			return errors.New("the machine came back, so it is no case that shows anything")
		}
		return nil
	}
	if err != nil {
		return err
	}
	t.Logf("%.1f s from the crash to the reset", time.Since(start).Seconds())
	if vm, err = boot("after", ". /ukdump-test/emergency-after\n", 5*time.Minute); err == nil {
		err = vm.Wait()
	}
	if err != nil {
		return err
	}
	dir, err := m.Results()
	if err != nil {
		return err
	}
	return c.check(filepath.Join(dir, "ukdump-test/out"))
}

// check checks the files that were saved.
func (c emergencyCell) check(out string) error {
	text := func(name string) string {
		b, _ := os.ReadFile(filepath.Join(out, name))
		return string(b)
	}
	if c.via == "pstore" {
		// kdumpctl announce has made a directory of the log.
		if list := text("list.txt"); !strings.Contains(list, string(c.want)) || !strings.Contains(list, "sysrq triggered crash") {
			return fmt.Errorf("pstore had nothing of this crash: %s\n%s", list, text("announce.txt"))
		}
		return nil
	}
	if c.peer {
		complete := strings.Contains(text("files.txt"), "/vmcore\n") && strings.Contains(text("marked.txt"), "/dmesg\n")
		if complete != (c.want == crashdir.Complete) || c.want == none && strings.Contains(text("marked.txt"), "/dmesg\n") {
			return fmt.Errorf("what simple-kdump's way saved: %s", text("files.txt"))
		}
		return nil
	}
	var all found.Found
	if err := json.Unmarshal([]byte(text("found.json")), &all); err != nil {
		return err
	}
	if len(all.Dumps) != 1 {
		return fmt.Errorf("%d dumps: %s", len(all.Dumps), text("files.txt"))
	}
	d := all.Dumps[0]
	if err := whole(d); err != nil {
		return err
	}
	if d.Outcome != c.want || d.Dmesg != crashdir.Dmesg || d.Report == nil {
		return fmt.Errorf("the dump is %s with %v, log in %q: %s", d.Outcome, d.Files, d.Dmesg, d.ReportErr)
	}
	if c.want == crashdir.Complete && len(d.Report.Errors) > 0 {
		return fmt.Errorf("the report has errors: %s", strings.Join(d.Report.Errors, "; "))
	}
	return nil
}
