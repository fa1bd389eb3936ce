package vmtest

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// fakeQEMU puts a shell script in QEMU's place. Its arguments are QEMU's.
func fakeQEMU(t *testing.T, script string) {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, AMD64.qemu()), []byte("#!/bin/sh\n"+script), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
}

func TestArgs(t *testing.T) {
	o := Options{
		Kernel: "/k", Initrd: "/i", Cmdline: "console=ttyS0 a=\"b\"", MemoryMiB: 512, CPUs: 2, Watchdog: true,
		ERST: "/erst", RTC: "1970-01-01T00:00:00",
		Disks: []Disk{
			{Path: "/a,b", Serial: "s"},
			{Path: "/c", Format: "qcow2", Bus: NVMe},
			{Path: "/d", Bus: VirtioSCSI},
			{Path: "/e", Bus: AHCI},
			{Path: "/f", Bus: USB},
			{Path: "nbd:unix:/g"},
			{Path: "/h", Bus: SCSIPaths, Serial: "s"},
			{Path: "/i", Bus: NVMePaths},
			{Path: "/j", Bus: UAS},
			{Path: "/k", Bus: VirtioSCSI4K},
			{Path: "/l", Bus: MegaSAS},
			{Path: "/m", Bus: MPTSAS},
		},
	}
	args, err := o.Args()
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range [][]string{
		{"-accel", "tcg"},
		{"-m", "512M", "-smp", "2"},
		{"-kernel", "/k", "-initrd", "/i", "-append", "console=ttyS0 a=\"b\""},
		{"-no-reboot"},
		{"-device", "i6300esb", "-action", "watchdog=reset"},
		{"-object", "memory-backend-file,id=erst,size=64K,share=on,mem-path=/erst", "-device", "acpi-erst,memdev=erst"},
		{"-rtc", "base=1970-01-01T00:00:00"},
		{"-drive", "file=/a,,b,format=raw,if=none,id=disk0-image,cache=unsafe,discard=unmap", "-device", "virtio-blk-pci,id=disk0,drive=disk0-image,serial=s"},
		{"-device", "nvme,id=disk1,drive=disk1-image,serial=disk1"},
		{"-device", "virtio-scsi-pci,id=disk2-bus", "-device", "scsi-hd,bus=disk2-bus.0,id=disk2,drive=disk2-image"},
		{"-device", "ahci,id=disk3-bus", "-device", "ide-hd,bus=disk3-bus.0,id=disk3,drive=disk3-image"},
		{"-device", "qemu-xhci,id=disk4-bus", "-device", "usb-storage,bus=disk4-bus.0,id=disk4,drive=disk4-image"},
		{"-drive", "file=nbd:unix:/g,format=raw,if=none,id=disk5-image,cache=unsafe,discard=unmap"},
		{"-device", "virtio-scsi-pci,id=disk6-bus", "-device", "scsi-hd,bus=disk6-bus.0,id=disk6,drive=disk6-image,serial=s,share-rw=on",
			"-device", "virtio-scsi-pci,id=disk6-bus2", "-device", "scsi-hd,bus=disk6-bus2.0,id=disk62,drive=disk6-image2,serial=s,share-rw=on"},
		{"-device", "nvme-subsys,id=disk7-bus,nqn=disk7", "-device", "nvme,id=disk7-busa,subsys=disk7-bus,serial=disk7",
			"-device", "nvme,id=disk7-busb,subsys=disk7-bus,serial=disk7", "-device", "nvme-ns,bus=disk7-busa,shared=on,id=disk7,drive=disk7-image"},
		{"-device", "usb-uas,id=disk8-uas,bus=disk8-bus.0", "-device", "scsi-hd,bus=disk8-uas.0,id=disk8,drive=disk8-image"},
		{"-device", "scsi-hd,bus=disk9-bus.0,id=disk9,drive=disk9-image,logical_block_size=4096,physical_block_size=4096"},
		{"-device", "megasas,id=disk10-bus"},
		{"-device", "mptsas1068,id=disk11-bus", "-device", "scsi-hd,bus=disk11-bus.0,id=disk11,drive=disk11-image,wwn=0x5000c50000000001"},
	} {
		if !containsRun(args, want) {
			t.Errorf("no %q in %q", want, args)
		}
	}

	o = Options{Kernel: "/k", Reboot: true}
	if args, err := o.Args(); err != nil || slices.Contains(args, "-no-reboot") {
		t.Errorf("with Reboot: %q, %v", args, err)
	}
	o = Options{Kernel: "/k", Disks: []Disk{{Path: "/a", Bus: "floppy"}}}
	if _, err := o.Args(); err == nil || !strings.Contains(err.Error(), "floppy") {
		t.Errorf("unknown bus: %v", err)
	}
}

// containsRun tells whether words stand one after the other in args.
func containsRun(args, words []string) bool {
	for i := range args {
		if len(args)-i >= len(words) && slices.Equal(args[i:i+len(words)], words) {
			return true
		}
	}
	return false
}

func TestArgsOfFirmware(t *testing.T) {
	o := Options{UEFI: UEFI{Code: "code.fd", Vars: "vars.fd", Secure: true}, Disks: []Disk{{Path: "a.img"}, {Path: "b.img", First: true}}}
	args, err := o.Args()
	if err != nil {
		t.Fatal(err)
	}
	line := strings.Join(args, " ")
	for _, want := range []string{
		"readonly=on,file=code.fd", "-drive if=pflash,format=raw,file=vars.fd", "drive=disk1-image,bootindex=1",
		"-machine smm=on -global driver=cfi.pflash01,property=secure,value=on",
	} {
		if !strings.Contains(line, want) {
			t.Errorf("no %q in %s", want, line)
		}
	}
	if strings.Contains(line, "-kernel") || strings.Contains(line, "disk0-image,bootindex") {
		t.Error(line)
	}
}

func TestArgsOfArm64(t *testing.T) {
	o := Options{Arch: ARM64, Kernel: "/k", Cmdline: "console=" + ARM64.Console(), Disks: []Disk{{Path: "/a", Bus: SD}}}
	args, err := o.Args()
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range [][]string{
		{"-machine", "virt,gic-version=3", "-cpu", "max,pauth-impdef=on,lpa2=off", "-accel", "tcg", "-m", "1024M"},
		{"-kernel", "/k", "-append", "console=ttyAMA0"},
		{"-device", "sdhci-pci,id=disk0-bus", "-device", "sd-card,id=disk0,drive=disk0-image"},
	} {
		if !containsRun(args, want) {
			t.Errorf("no %q in %q", want, args)
		}
	}
	command, err := o.Command()
	if err != nil || !strings.HasPrefix(command, "qemu-system-aarch64 -machine virt,") || strings.Contains(command, "q35") {
		t.Errorf("Command = %s, %v", command, err)
	}
	o.LPA2 = true
	if args, err := o.Args(); err != nil || !containsRun(args, []string{"-cpu", "max,pauth-impdef=on"}) {
		t.Errorf("with LPA2: %q, %v", args, err)
	}
	o.Accel = KVM
	if args, err := o.Args(); err != nil || !containsRun(args, []string{"-cpu", "host", "-accel", "kvm"}) {
		t.Errorf("with KVM: %q, %v", args, err)
	}
}

func TestShellQuote(t *testing.T) {
	for in, want := range map[string]string{
		"":          "''",
		"a=b,c/d-e": "a=b,c/d-e",
		"a b":       "'a b'",
		"it's $x":   `'it'\''s $x'`,
	} {
		if got := shellQuote(in); got != want {
			t.Errorf("shellQuote(%q) = %s, want %s", in, got, want)
		}
	}
}

func TestConsole(t *testing.T) {
	var seen []string
	c := newConsole(func(l string) { seen = append(seen, l) })
	for _, s := range []string{"\x1b[2J\x1bcfirst", " line\r\n", "10 %\r20 %\r\n\x1b[0;32m  OK  \x1b[0m done\nlogin: "} {
		if _, err := c.Write([]byte(s)); err != nil {
			t.Fatal(err)
		}
	}
	lines := []string{"first line", "20 %", "  OK   done"}
	if !slices.Equal(seen, lines) {
		t.Errorf("lines %q, want %q", seen, lines)
	}
	if got, want := c.all(), append(lines, "login: "); !slices.Equal(got, want) {
		t.Errorf("all lines %q, want %q", got, want)
	}
}

// A guest that never ends a line, or never stops, must not fill the memory.
func TestConsoleIsBounded(t *testing.T) {
	c := newConsole(nil)
	long := []byte(strings.Repeat("x", 1<<20))
	if _, err := c.Write(long); err != nil {
		t.Fatal(err)
	}
	for range 5 * minConsole {
		if _, err := c.Write([]byte("y\n")); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(c.all()); n < minConsole || n > 2*minConsole {
		t.Errorf("%d lines kept, want %d to twice as many", n, minConsole)
	}
	if _, err := c.Write([]byte("last\n")); err != nil {
		t.Fatal(err)
	}
	if n, _ := c.find("last", 5*minConsole); n < 5*minConsole {
		t.Errorf("line number %d after lines were dropped", n)
	}
}

func TestExpectAndWait(t *testing.T) {
	fakeQEMU(t, "echo one; echo two; echo one again; exit 0\n")
	log := filepath.Join(t.TempDir(), "log")
	var lines []string
	vm, err := Start(t.Context(), Options{Kernel: "/k", Log: log, Line: func(l string) { lines = append(lines, l) }})
	if err != nil {
		t.Fatal(err)
	}
	if err := vm.Expect("one", time.Minute); err != nil {
		t.Error(err)
	}
	if err := vm.Expect("one", time.Minute); err != nil {
		t.Error(err)
	}
	// Each line is found once.
	if err := vm.Expect("one", time.Minute); err == nil {
		t.Error("a third line was found")
	}
	if err := vm.Wait(); err != nil {
		t.Error(err)
	}
	if b, err := os.ReadFile(log); err != nil || string(b) != "one\ntwo\none again\n" {
		t.Errorf("log %q, %v", b, err)
	}
	if want := []string{"one", "two", "one again"}; !slices.Equal(lines, want) || !slices.Equal(vm.Console(), want) {
		t.Errorf("lines %q, console %q, want %q", lines, vm.Console(), want)
	}
}

func TestFailures(t *testing.T) {
	for _, tt := range []struct {
		name, script string
		options      Options
		do           func(*VM) error
		want         string
	}{
		{"marker missing", "echo up; exec sleep 60\n", Options{}, func(vm *VM) error {
			defer vm.Kill()
			return vm.Expect("login", 100*time.Millisecond)
		}, `no line with "login" within 100ms`},
		{"ended too early", "echo up\n", Options{}, func(vm *VM) error { return vm.Expect("login", time.Minute) }, `ended before printing "login"`},
		{"deadline", "echo up; exec sleep 60\n", Options{Deadline: 200 * time.Millisecond}, (*VM).Wait, "still running after 200ms"},
		{"bad status", "echo up; echo 'no such device' >&2; exit 1\n", Options{}, (*VM).Wait, "QEMU ended with exit status 1"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			fakeQEMU(t, tt.script)
			tt.options.Kernel = "/boot/my kernel"
			vm, err := Start(t.Context(), tt.options)
			if err != nil {
				t.Fatal(err)
			}
			err = tt.do(vm)
			var failure *Error
			if !errors.As(err, &failure) {
				t.Fatalf("error %v is no *Error", err)
			}
			if failure.What != tt.want {
				t.Errorf("What = %q, want %q", failure.What, tt.want)
			}
			if !slices.Contains(failure.Tail, "up") {
				t.Errorf("Tail = %q lacks the console's line", failure.Tail)
			}
			if !strings.HasPrefix(failure.Command, AMD64.qemu()+" -machine ") || !strings.Contains(failure.Command, "-kernel '/boot/my kernel'") {
				t.Errorf("Command = %s", failure.Command)
			}
			vm.Kill()
		})
	}
}

func TestWaitInterrupted(t *testing.T) {
	fakeQEMU(t, "exec sleep 60\n")
	ctx, cancel := context.WithCancel(t.Context())
	vm, err := Start(ctx, Options{Kernel: "/k"})
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	if err := vm.Wait(); err == nil || !strings.Contains(err.Error(), "interrupted") {
		t.Errorf("Wait = %v", err)
	}
}

func TestStartWithoutQEMU(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	if _, err := Start(t.Context(), Options{Kernel: "/k"}); err == nil || !strings.Contains(err.Error(), AMD64.qemu()) {
		t.Errorf("Start = %v", err)
	}
}
