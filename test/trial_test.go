package test

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"ukdump/internal/vmtest"
	"ukdump/test/debian"
)

// testID is the MESSAGE_ID of the result of kdumpctl test.
const testID = "18489ef1de1b4204a72d8aeab58b9743"

// trial is one kdumpctl test in a machine with systemd.
type trial struct {
	name   string
	ci     bool
	suite  string // bookworm if empty
	layout string
	mount  string // line of fstab for the layout
	server string // a key of servers: the first target
	words  string // of the command line, instead of the usual reservation
	leave  int    // KiB that a module leaves of the memory while a collector runs; 0 for all
	// test is the shell command that begins it; then the machine has to go down by itself.
	test    string
	message string // in the announcement
	status  string // in the line of status
	list    string // in list; "" for no dump
	vmcore  bool   // it is there after the announcement
	problem string // that status has then
}

const (
	passed       = " passed: Linux "
	spare        = " of memory to spare (the loaded image)"
	listedPassed = "test passed"

	// begun waits until a test has begun, while the machine is about to shut down.
	begun = "kdumpctl test --yes & until [ -e /var/lib/ukdump/tested.json ]; do sleep 0.1; done; "
)

var trials = []trial{
	{name: "ext4", ci: true, layout: "root", test: "kdumpctl test --yes", message: passed, status: spare, list: listedPassed},
	{name: "keep", layout: "root", test: "kdumpctl test --yes --keep", message: passed, status: spare, list: listedPassed, vmcore: true},
	{name: "now", layout: "root", test: "kdumpctl test --yes --now", message: passed, status: spare, list: listedPassed},
	{name: "xfs", layout: "xfs", mount: "/var/crash xfs", test: "kdumpctl test --yes", message: passed, status: spare, list: listedPassed},
	{name: "btrfs", layout: "btrfs", mount: "/var/crash btrfs", test: "kdumpctl test --yes", message: passed, status: spare, list: listedPassed},
	{name: "lvm", layout: "lvm-xfs", mount: "/var/crash xfs", test: "kdumpctl test --yes", message: passed, status: spare, list: listedPassed},
	{name: "var", layout: "var", mount: "/var ext4", test: "kdumpctl test --yes", message: passed, status: spare, list: listedPassed},

	{name: "lent", suite: "sid", layout: "root", words: "crashkernel=80M crashkernel=48M,cma", test: "kdumpctl test --yes", message: passed, status: spare, list: listedPassed},

	{name: "server", layout: "root", server: "sftp", test: "kdumpctl test --yes", message: " a complete dump of ", status: spare, list: listedPassed},

	// Tests that fail.
	{name: "hook-lost", layout: "root", test: begun + "rm /usr/lib/systemd/system-shutdown/ukdump-test.shutdown",
		message: " FAILED: nothing was saved", status: "it FAILED: nothing was saved"},
	{name: "power-lost", layout: "root", test: begun + "sync; echo b >/proc/sysrq-trigger",
		message: " FAILED: nothing was saved", status: "it FAILED: nothing was saved"},
	{name: "target-gone", layout: "ext4", mount: "/var/crash ext4", test: begun + "tune2fs -f -U random /dev/disk/by-label/target",
		message: " FAILED: ", status: "it FAILED: "},
	{name: "reservation-small", layout: "root", words: "crashkernel=64M", test: "kdumpctl test --yes && fail 'it began'; systemctl reboot",
		status: "kdumpctl test was not run"},
	// Nobody has foreseen the driver that takes all memory.
	{name: "memory-taken", layout: "root", leave: 1024, test: "kdumpctl verify || fail 'verify is not content'; kdumpctl test --yes",
		message: "the likely cause: the capture kernel ran out of memory: 192.0 MiB could be used", status: "it FAILED: the dump is dmesg-only", list: "test failed",
		problem: "the reservation is too small to capture a crash: 192.0 MiB can be used, a capture needs about 194.0 MiB"},
	{name: "hook-missing", layout: "root", test: "rm /usr/lib/systemd/system-shutdown/ukdump-test.shutdown; kdumpctl test --yes && fail 'it began'; systemctl reboot",
		status: "kdumpctl test was not run"},
}

// prepareTrial makes the file system of a trial, in a boot without systemd.
const prepareTrial = `. /ukdump-test/cell
make_target && mkdir -p /var/crash || fail 'no target'
[ -z "$fstab" ] || echo "LABEL=target $fstab defaults 0 2" >>/etc/fstab
systemctl --root=/ enable ukdump.service ukdump-announce.service
[ ! -e /ukdump-test/crash.ko ] ||
	{ install -D /ukdump-test/crash.ko "/lib/modules/$(uname -r)/extra/ukdump_crash.ko" && depmod; } || fail 'no module'
[ ! -e /etc/systemd/network/10-test.network ] || systemctl --root=/ enable systemd-networkd.service
sync
`

const beginTrial = `. /ukdump-test/lib.sh
systemctl is-active ukdump.service ukdump-announce.service || fail 'the units are not active'
say "the test begins"
$test
sleep 600
`

const afterTrial = `. /ukdump-test/lib.sh
out=/ukdump-test/out
for n in $(seq 60); do [ "$(systemctl is-active ukdump.service)" = active ] && break; sleep 1; done
journalctl --sync || true
journalctl -b -q -o cat MESSAGE_ID=$id >$out/test.txt || true
journalctl -b -q -o cat MESSAGE_ID=$crash + MESSAGE_ID=$lost >$out/crash.txt || true
kdumpctl status >$out/status.txt || true
kdumpctl list >$out/list.txt || true
find /var/crash -name 'vmcore*' -size +1M >$out/vmcore.txt
cat /var/crash/20*/kexec-dmesg.log >$out/capture.txt || true
results ukdump-test/out
say "results written"
`

// recovered matches what file systems log if the machine before has not left them clean:
// ext4, xfs, btrfs.
var recovered = regexp.MustCompile(`recovery complete|recovery required|orphan cleanup|Starting recovery|start tree-log replay|log replay`)

// TestTrial runs kdumpctl test for real. It reads what the next boot announces, and in the
// log of the capture kernel that it found clean file systems.
func TestTrial(t *testing.T) {
	set := vmSet(t)
	if set == "faults" {
		t.Skip("UKDUMP_VM=faults is for TestFaults")
	}
	for _, tr := range trials {
		if set != "matrix" && !tr.ci {
			continue
		}
		t.Run(tr.name, func(t *testing.T) {
			t.Parallel()
			tr.run(t)
		})
	}
}

func (tr trial) run(t *testing.T) {
	root, payload := lab(t, cmp.Or(tr.suite, "bookworm"))
	l := layouts[tr.layout]
	h := debian.Hardware{Root: root, Flavour: debian.Cloud}
	for _, name := range l.disks() {
		h.Disks = append(h.Disks, debian.Disk{Name: name})
	}
	if tr.server != "" {
		h.NICs = []vmtest.NIC{dhcpCard}
		payload = withServer(payload, servers[tr.server](t, hostIPv4))
	}
	if tr.leave > 0 {
		payload = payload.With("ukdump-test/crash.ko", testModule(t)).
			With("etc/ukdump.conf.d/take.conf", "MODULES=ukdump_crash\n").
			With("etc/modprobe.d/take.conf", fmt.Sprintf("options ukdump_crash leave=%d\n", tr.leave))
	}
	m, err := debian.New(t.Context(), "trial-"+tr.name, h)
	if err != nil {
		t.Fatal(err)
	}
	payload = payload.With("ukdump-test/cell", l.script("mark-trial"))
	words := cmp.Or(tr.words, reservation) + " panic=5"
	boot := func(name, init, script, mark string) {
		t.Helper()
		payload.Run = script
		runMachine(t, m, debian.Boot{Name: name, Init: init, Payload: payload, Cmdline: words, Deadline: bootLimit}, mark)
	}
	boot("prepare", debian.Quick, "fstab='"+tr.mount+"'\n"+prepareTrial, "")
	boot("test", "", strings.Replace(beginTrial, "$test", tr.test, 1), "the test begins")
	boot("after", "", strings.NewReplacer("$id", testID, "$crash", crashID, "$lost", lostID).Replace(afterTrial), "results written")
	dir, err := m.Results()
	if err != nil {
		t.Fatal(err)
	}
	if err := tr.judge(filepath.Join(dir, "ukdump-test/out")); err != nil {
		t.Fatalf("%v\n--- its disks and logs are kept in %s", err, m.Dir)
	}
	if err := m.Remove(); err != nil {
		t.Error(err)
	}
}

// dhcpCard is the card of withServer.
var dhcpCard = vmtest.NIC{Model: "virtio-net-pci", MAC: "52:54:00:12:34:56", Backend: "user"}

// withServer adds what a machine with systemd needs to send dumps to s. Its second target is
// /var/crash.
func withServer(p debian.Payload, s dumpServer) debian.Payload {
	for name, text := range s.files {
		p = p.With(name, text)
	}
	return p.With("etc/ukdump.conf", fmt.Sprintf("TARGET=%q\n%s", s.target+" /var/crash", s.conf)).
		With("etc/systemd/network/10-test.network", "[Match]\nMACAddress="+dhcpCard.MAC+"\n[Network]\nDHCP=ipv4\n")
}

// judge compares the files of the last boot with what they have to be.
func (tr trial) judge(out string) error {
	files := map[string]string{}
	for _, name := range []string{"test", "crash", "status", "list", "vmcore", "capture"} {
		b, err := os.ReadFile(filepath.Join(out, name+".txt"))
		if err != nil {
			return err
		}
		files[name] = string(b)
	}
	tested := regexp.MustCompile(`(?m)^tested .*`).FindString(files["status"])
	switch {
	case tr.message == "" && files["test"] != "",
		tr.message != "" && (strings.Count(files["test"], "\n") != 1 || !strings.Contains(files["test"], tr.message)):
		return fmt.Errorf("the announcement is %q, not %q", files["test"], tr.message)
	case files["crash"] != "":
		return fmt.Errorf("a crash was announced: %s", files["crash"])
	case !strings.Contains(tested, tr.status):
		return fmt.Errorf("status has %q, not %q:\n%s", tested, tr.status, files["status"])
	case tr.list != "" && !strings.Contains(files["list"], tr.list), tr.list == "" && strings.Contains(files["list"], "test "):
		return fmt.Errorf("the list is %q", files["list"])
	case !strings.Contains(files["status"], tr.problem):
		return fmt.Errorf("status is without %q:\n%s", tr.problem, files["status"])
	case (files["vmcore"] != "") != tr.vmcore:
		return fmt.Errorf("vmcores: %q", files["vmcore"])
	}
	if line := recovered.FindString(files["capture"]); line != "" {
		return fmt.Errorf("a file system was not clean: %q in\n%s", line, files["capture"])
	}
	return nil
}
