package test

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"filippo.io/age"

	"ukdump/internal/crashdir"
	"ukdump/internal/dumpfile"
	"ukdump/internal/vmtest"
	"ukdump/test/debian"
)

// netCell is a machine whose dump goes to a server.
type netCell struct {
	suite   string
	flavour debian.Flavour
	card    string // model of QEMU
	before  string // model of another card before it: the card has another name in the capture kernel
	address string // way of addressing, a key of addressings
	server  string // a key of servers
	encrypt string // ENCRYPT_REPORT=, or "" for no encryption
	ci      bool
}

func (c netCell) String() string {
	name := strings.Join([]string{c.suite, string(c.flavour), c.server, c.card, c.address}, "-")
	if c.before != "" {
		name += "-after-" + c.before
	}
	if c.encrypt != "" {
		name += "-encrypted-" + c.encrypt
	}
	return name
}

// addressing sets up the network of the healthy machine. $dev is its card.
type addressing struct {
	at      string // address of the server
	setUp   string
	verify  string // verify= of the cell: "skip" if the server is not reached before the crash
	warning string // in the report
}

// slaac waits for an address from QEMU's router.
const slaac = "for i in 1 2 3 4 5 6 7 8 9 10; do sleep 2; ! ip addr show dev $dev | grep -q fec0: || break; done; ip addr show dev $dev | grep -q fec0:"

// IPv4 by hand, IPv6 by hand, an address that looks as DHCP clients set it, and addresses by
// router advertisement. With router-gone the recorded route leads nowhere.
var addressings = map[string]addressing{
	"static": {at: hostIPv4, setUp: "ip addr add 10.0.2.77/24 dev $dev && ip route add default via 10.0.2.2"},
	"ipv6":   {at: hostIPv6, setUp: "ip addr add fec0::77/64 dev $dev && sleep 3"},
	"dhcp":   {at: hostIPv4, setUp: "udhcpc -q -n -f -i $dev -s /ukdump-test/udhcpc"},
	"slaac":  {at: hostIPv6, setUp: slaac},
	"router-gone": {at: hostIPv6, setUp: slaac + " && ip -6 route add fec0::2/128 via fe80::dead dev $dev", verify: "skip",
		warning: "requesting another by router advertisement"},
}

var servers = map[string]func(t *testing.T, at string) dumpServer{
	"sftp":  startSFTP,
	"https": startHTTPS,
	"s3":    startS3,
	"nfs":   startNFS,
}

var netCells = []netCell{
	{suite: "bookworm", flavour: debian.Generic, card: "virtio-net-pci", address: "static", server: "sftp", ci: true},
	{suite: "bookworm", flavour: debian.Cloud, card: "virtio-net-pci", address: "ipv6", server: "sftp"},
	{suite: "bookworm", flavour: debian.Generic, card: "e1000e", address: "dhcp", server: "sftp"},
	{suite: "trixie", flavour: debian.Generic, card: "virtio-net-pci", address: "dhcp", server: "sftp"},
	{suite: "trixie", flavour: debian.Generic, card: "e1000e", address: "static", server: "sftp"},
	{suite: "trixie", flavour: debian.Generic, card: "e1000", address: "ipv6", server: "sftp"},
	{suite: "bookworm", flavour: debian.Generic, card: "virtio-net-pci", address: "slaac", server: "sftp"},
	{suite: "bookworm", flavour: debian.Generic, card: "virtio-net-pci", address: "router-gone", server: "sftp"},
	{suite: "sid", flavour: debian.Generic, card: "virtio-net-pci", address: "static", server: "sftp"},
	{suite: "sid", flavour: debian.Generic, card: "e1000", address: "static", server: "sftp"},
	{suite: "bookworm", flavour: debian.Generic, card: "virtio-net-pci", address: "static", server: "https", ci: true},
	{suite: "trixie", flavour: debian.Generic, card: "rtl8139", address: "dhcp", server: "https"},
	{suite: "sid", flavour: debian.Generic, card: "virtio-net-pci", address: "dhcp", server: "https"},
	{suite: "bookworm", flavour: debian.Cloud, card: "virtio-net-pci", address: "static", server: "https"},
	{suite: "trixie", flavour: debian.Generic, card: "virtio-net-pci", before: "e1000", address: "static", server: "sftp"},
	{suite: "bookworm", flavour: debian.Generic, card: "virtio-net-pci", address: "static", server: "s3"},
	{suite: "sid", flavour: debian.Generic, card: "e1000e", address: "dhcp", server: "s3", encrypt: "yes"},
	{suite: "bookworm", flavour: debian.Generic, card: "virtio-net-pci", address: "static", server: "sftp", encrypt: "yes"},
	{suite: "trixie", flavour: debian.Generic, card: "virtio-net-pci", address: "static", server: "https", encrypt: "no"},
}

// TestNetwork crashes one machine per cell and looks for its dump at the server.
func TestNetwork(t *testing.T) {
	set := vmSet(t)
	if set == "faults" {
		t.Skip("UKDUMP_VM=faults is for TestFaults")
	}
	t.Run("cell", func(t *testing.T) {
		for _, c := range netCells {
			if set == "ci" && !c.ci {
				continue
			}
			t.Run(c.String(), func(t *testing.T) {
				chosen.Add(1)
				t.Parallel()
				root, payload := lab(t, c.suite)
				a := addressings[c.address]
				s := servers[c.server](t, a.at)
				start := time.Now()
				if err := c.crash(t.Context(), root, payload, a, s); err != nil {
					t.Fatal(err)
				}
				t.Logf("captured (%.0f s)", time.Since(start).Seconds())
			})
		}
	})
}

// crash crashes the machine and checks the dump.
func (c netCell) crash(ctx context.Context, root *debian.Root, payload debian.Payload, a addressing, s dumpServer) error {
	h := debian.Hardware{Root: root, Flavour: c.flavour}
	if c.before != "" {
		h.NICs = append(h.NICs, vmtest.NIC{Model: c.before, MAC: "52:54:00:ff:ff:ff", Backend: "user,net=10.9.0.0/24"})
	}
	h.NICs = append(h.NICs, vmtest.NIC{Model: c.card, MAC: "52:54:00:12:34:56", Backend: "user"})
	m, err := debian.New(ctx, c.String(), h)
	if err != nil {
		return err
	}
	mark := "mark-" + rand.Text()
	for name, text := range s.files {
		payload = payload.With(name, text)
	}
	var identity *age.X25519Identity
	if c.encrypt != "" {
		if identity, err = age.GenerateX25519Identity(); err != nil {
			return err
		}
		s.conf += fmt.Sprintf("ENCRYPT=%s\nENCRYPT_REPORT=%s\n", identity.Recipient(), c.encrypt)
	}
	payload = payload.With("etc/ukdump.conf", fmt.Sprintf("TARGET=%q\n%s%s", s.target, s.conf, readable))
	payload = payload.With("ukdump-test/cell", fmt.Sprintf("mark=%s\nset_up='%s'\nverify=%s\n", mark, a.setUp, a.verify))
	payload.Run = ". /ukdump-test/network\n"
	vm, err := m.Boot(ctx, debian.Boot{
		Name: "crash", Init: debian.Quick, Payload: payload, Deadline: bootLimit,
		Cmdline: reservation + " panic=5 printk.devkmsg=on",
	})
	if err == nil {
		err = vm.Wait()
	}
	if err != nil {
		return err
	}
	if err := checkCrashed(vm, mark); err != nil {
		return err
	}
	if identity != nil {
		if err := decryptServed(s.dir, identity, c.encrypt == "yes", mark); err != nil {
			return vm.Fail("%v", err)
		}
	}
	if err := checkServed(s.dir, mark, m.Dir, false); err != nil {
		return vm.Fail("%v", err)
	}
	if err := checkWarning(s.dir, a.warning); err != nil {
		return vm.Fail("%v", err)
	}
	return m.Remove()
}

// checkCrashed returns an error unless the machine has printed its mark, nothing failed, and
// no other kernel than the crashed one panicked.
func checkCrashed(vm *vmtest.VM, mark string) error {
	console := strings.Join(vm.Console(), "\n")
	switch {
	case strings.Contains(console, "ukdump-test: FAILED"), !strings.Contains(console, "ukdump-test: "+mark):
		return vm.Fail("the machine was not crashed")
	case panics(console) > 1:
		return vm.Fail("the capture kernel panicked")
	}
	return nil
}

// checkWarning requires a text in a warning of the only report below dir.
func checkWarning(dir, text string) error {
	found, err := filepath.Glob(filepath.Join(dir, "*", "*", crashdir.ReportFile))
	if err != nil || len(found) != 1 {
		return fmt.Errorf("%d reports below %s, not 1 (%v)", len(found), dir, err)
	}
	b, err := os.ReadFile(found[0])
	if err != nil {
		return err
	}
	r, err := crashdir.ParseReport(b)
	if err != nil {
		return err
	}
	if all := strings.Join(r.Warnings, "\n"); !strings.Contains(all, text) {
		return fmt.Errorf("no warning with %q: %q", text, all)
	}
	return nil
}

// checkServed checks the only dump below dir, which a server wrote. temp is for files. A
// redacted report has no word of the crashed kernel.
func checkServed(dir, mark, temp string, redacted bool) error {
	found, err := filepath.Glob(filepath.Join(dir, "*", "*", crashdir.ReportFile))
	if err != nil || len(found) != 1 {
		return fmt.Errorf("%d reports below %s, not 1 (%v)", len(found), dir, err)
	}
	dump := filepath.Dir(found[0])
	b, err := os.ReadFile(found[0])
	if err != nil {
		return err
	}
	r, err := crashdir.ParseReport(b)
	if err != nil {
		return err
	}
	var wrong []error
	bad := func(format string, a ...any) { wrong = append(wrong, fmt.Errorf(format, a...)) }
	if r.Outcome != crashdir.Complete || len(r.Errors) > 0 {
		bad("report.json says %s: %s", r.Outcome, strings.Join(r.Errors, "; "))
	}
	if (r.Panic.Line == "") != redacted || !redacted && !strings.Contains(r.Panic.Line, "sysrq triggered crash") {
		bad("report.json gives %q as the panic", r.Panic.Line)
	}
	core := filepath.Join(dump, crashdir.Vmcore)
	if flat := core + ".flat"; exists(flat) { // as the manual page says
		in, err := os.Open(flat)
		if err != nil {
			return err
		}
		defer in.Close()
		core = filepath.Join(temp, crashdir.Vmcore)
		cmd := exec.Command("makedumpfile", "-R", core)
		cmd.Stdin = in
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("makedumpfile -R: %w: %s", err, out)
		}
	}
	if _, err := dumpfile.VerifyFile(core); err != nil {
		bad("%w", err)
	}
	text := filepath.Join(temp, "makedumpfile-dmesg.txt")
	if out, err := exec.Command("makedumpfile", "--dump-dmesg", core, text).CombinedOutput(); err != nil {
		bad("makedumpfile --dump-dmesg: %w: %s", err, out)
	}
	for _, log := range []string{filepath.Join(dump, crashdir.Dmesg), text} {
		if err := checkLog(log, mark); err != nil {
			bad("%w", err)
		}
	}
	left, err := filepath.Glob(filepath.Join(dump, "*"+crashdir.Suffix))
	if err != nil || len(left) > 0 {
		bad("%s is at the server (%v)", left, err)
	}
	return errors.Join(wrong...)
}

// decryptServed decrypts the files of the only dump below dir in place. Before that, no file
// may have the mark if all is secret.
func decryptServed(dir string, identity age.Identity, all bool, mark string) error {
	sealed, err := filepath.Glob(filepath.Join(dir, "*", "*", "*"+crashdir.Sealed))
	if err != nil || len(sealed) == 0 {
		return fmt.Errorf("no encrypted file below %s (%v)", dir, err)
	}
	clear, err := filepath.Glob(filepath.Join(dir, "*", "*", "*"))
	if err != nil {
		return err
	}
	for _, name := range clear {
		b, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		if all && (bytes.Contains(b, []byte(mark)) || bytes.Contains(b, []byte("sysrq triggered crash"))) {
			return fmt.Errorf("%s is not encrypted", name)
		}
	}
	for _, name := range sealed {
		if err := decryptFile(name, identity); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

// decryptFile writes the content of an age file beside it. A vmcore is in the flattened
// format.
func decryptFile(name string, identity age.Identity) error {
	in, err := os.Open(name)
	if err != nil {
		return err
	}
	defer in.Close()
	r, err := age.Decrypt(in, identity)
	if err != nil {
		return err
	}
	plain := strings.TrimSuffix(name, crashdir.Sealed)
	if filepath.Base(plain) == crashdir.Vmcore {
		plain += ".flat"
	}
	out, err := os.Create(plain)
	if err != nil {
		return err
	}
	defer out.Close()
	_, err = io.Copy(out, r)
	return err
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
