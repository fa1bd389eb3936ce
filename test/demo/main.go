// Demo shows ukdump in a virtual machine with a real Debian, GRUB and systemd: the
// package, setup, a reboot, kdumpctl test with its crash, and the result.
//
// Synopsis:
//
//	go run ./test/demo [-record FILE] [-svg FILE]
//
// It installs missing packages on a Debian-like host, keeps the machine's root
// disk in the cache (see UKDUMP_CACHE in the Makefile) and leaves the dump
// there. Only apt-get needs root, through sudo. With -record the lines of the
// terminal and their times are kept, with -svg the capture is drawn from them.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"ukdump/internal/crashdir"
	"ukdump/internal/dumpfile"
	"ukdump/internal/vmcore"
	"ukdump/internal/vmtest"
	"ukdump/test/debian"
)

// The machine. Debian's cloud kernel needs no initramfs to boot.
const (
	suite   = "bookworm"
	flavour = debian.Cloud
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	record := flag.String("record", "", "keep a recording of the terminal in this `file`, which asciinema(1) plays")
	picture := flag.String("svg", "", "draw the capture in this `file`")
	flag.Parse()
	d := &demo{ctx: ctx}
	err := d.run()
	if err == nil {
		err = d.cast.keep(*record, *picture)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "\ndemo:", err)
		os.Exit(1)
	}
}

type demo struct {
	story
	ctx  context.Context
	repo string
	m    *debian.Machine
}

func (d *demo) run() (err error) {
	start := time.Now()
	if d.repo, err = debian.Repository(); err != nil {
		return err
	}
	tmp, err := os.MkdirTemp("", "ukdump-demo-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)

	d.begin("Install missing packages on this computer")
	if err := d.command("scripts/deps.sh"); err != nil {
		return err
	}
	d.begin("Build the package with make packages")
	if err := d.command("make", "-s", "packages", "PACKAGE_ARCHS=amd64", "DIST="+tmp); err != nil {
		return err
	}
	d.begin("Make a Debian root disk, or find it in the cache")
	root, err := debian.MakeRoot(d.ctx, d.repo, suite, d)
	if err != nil {
		return err
	}
	payload, err := d.payload(root, tmp)
	if err != nil {
		return err
	}
	if d.m, err = debian.New(d.ctx, "demo", debian.Hardware{
		Root: root, Flavour: flavour, RootBus: vmtest.NVMe, // built into this kernel
		Disks: []debian.Disk{{Name: "boot", Size: 256 << 20, First: true}},
	}); err != nil {
		return err
	}
	dump, err := d.crash(payload)
	if err != nil {
		return fmt.Errorf("%w\n--- its disks and logs are kept in %s", err, d.m.Dir)
	}
	kept := filepath.Join(filepath.Dir(filepath.Dir(d.m.Dir)), "demo", dump.Name)
	if err := d.open(dump, kept); err != nil {
		return err
	}
	d.end()
	fmt.Printf("\nDone in %.0f s. The dump is in %s\n", time.Since(start).Seconds(), kept)
	return d.m.Remove()
}

// command runs a command in the source tree.
func (d *demo) command(name string, args ...string) error {
	cmd := exec.CommandContext(d.ctx, name, args...)
	cmd.Dir = d.repo
	cmd.Stdin = os.Stdin // for sudo
	cmd.Stdout, cmd.Stderr = d, d
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

// payload returns the files for the machine's first boot: the package below dist, those
// of the boot loader, and the steps of the later boots.
func (d *demo) payload(root *debian.Root, dist string) (p debian.Payload, err error) {
	dir, err := root.Packages(d.ctx, d.repo, []string{"grub-pc"}, d)
	if err != nil {
		return p, err
	}
	if p.Files, err = debian.Files("ukdump-test/debs", dir); err != nil {
		return p, err
	}
	found, err := filepath.Glob(filepath.Join(dist, "ukdump_*_amd64.deb"))
	if err != nil || len(found) != 1 {
		return p, fmt.Errorf("packages for amd64 in %s: %d, not 1", dist, len(found))
	}
	deb, err := os.ReadFile(found[0])
	if err != nil {
		return p, err
	}
	p.Files["ukdump-test/"+filepath.Base(found[0])] = string(deb)
	p.Files["ukdump-test/steps"] = stepScript
	p.Files["etc/ukdump.conf.d/vm.conf"] = "BOOT_OPTIONS=\"no_timer_check loglevel=5\"\n"
	p.Run = installScript
	return p, nil
}

// boot runs the machine until it resets or switches itself off.
func (d *demo) boot(b debian.Boot) (*vmtest.VM, error) {
	d.live = false
	b.Line = d.console
	vm, err := d.m.Boot(d.ctx, b)
	if err != nil {
		return nil, err
	}
	if err := vm.Wait(); err != nil {
		return nil, err
	}
	if strings.Contains(strings.Join(vm.Console(), "\n"), "ukdump-test: FAILED") {
		return nil, vm.Fail("a command in the machine failed")
	}
	return vm, nil
}

// crash sets the machine up, crashes it, copies the dump to this computer and returns it.
func (d *demo) crash(payload debian.Payload) (dump crashdir.Dump, err error) {
	var vm *vmtest.VM
	for _, step := range []struct {
		title string
		boot  debian.Boot
	}{
		{"Install GRUB in a virtual machine", debian.Boot{Name: "install", Init: debian.Quick, Payload: payload}},
		{"Boot the machine", debian.Boot{Name: "setup", Firmware: true}},
		{"Reboot, now with reserved memory", debian.Boot{Name: "test", Firmware: true}},
		{"Boot after the crash", debian.Boot{Name: "after", Firmware: true}},
	} {
		d.begin(step.title)
		if vm, err = d.boot(step.boot); err != nil {
			return dump, err
		}
	}
	dir, err := d.m.Results()
	if err != nil {
		return dump, err
	}
	dumps, err := crashdir.List(filepath.Join(dir, "var/crash"))
	switch {
	case err != nil:
		return dump, err
	case len(dumps) != 1:
		return dump, vm.Fail("%d dumps in /var/crash, not 1", len(dumps))
	case dumps[0].Outcome != crashdir.Complete:
		return dump, vm.Fail("the dump is not complete but %s", dumps[0].Outcome)
	case !dumps[0].Test:
		return dump, vm.Fail("the dump is not of the test")
	}
	return dumps[0], nil
}

// open moves the dump to kept and checks that it opens.
func (d *demo) open(dump crashdir.Dump, kept string) error {
	d.begin("Open the vmcore on this computer")
	if err := os.MkdirAll(filepath.Dir(kept), 0o755); err != nil {
		return err
	}
	if err := os.Rename(dump.Path, kept); err != nil {
		return err
	}
	core := filepath.Join(kept, crashdir.Vmcore)
	h, err := dumpfile.VerifyFile(core)
	if err != nil {
		return err
	}
	info, err := os.Stat(core)
	if err != nil {
		return err
	}
	d.show("header: %s, %s, kernel %s, %.1f MB", h.Format, h.Compression, h.Release, float64(info.Size())/1e6)

	log := filepath.Join(kept, "makedumpfile-dmesg.txt")
	cmd := exec.CommandContext(d.ctx, "makedumpfile", "--dump-dmesg", "-f", core, log)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("makedumpfile --dump-dmesg %s: %w\n%s", core, err, out)
	}
	b, err := os.ReadFile(log)
	if err != nil {
		return err
	}
	p := vmcore.FindPanic(b)
	if !strings.Contains(p.Line, "sysrq triggered crash") {
		return fmt.Errorf("%s: the panic is not by sysrq but %q", log, p.Line)
	}
	d.show("makedumpfile --dump-dmesg: %d bytes with the line: %s", len(b), p.Line)
	return nil
}
