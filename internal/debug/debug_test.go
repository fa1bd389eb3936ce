package debug

import (
	"bytes"
	"debug/elf"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"ukdump/internal/advice"
	"ukdump/internal/debug/debugtest"
	"ukdump/internal/dump"
	"ukdump/internal/dump/dumptest"
	"ukdump/internal/dumpfile"
	"ukdump/internal/symbols"
)

const (
	id      = "5bf0c35bd1a0eb1bcd1df5c9a2bca7ac13b1c1ba"
	otherID = "0000c35bd1a0eb1bcd1df5c9a2bca7ac13b1c1ba"
	release = "6.1.0-57-amd64"
	version = "#1 SMP PREEMPT_DYNAMIC Debian 6.1.192-3 (2026-11-26)"
)

func write(t *testing.T, root, name string, content []byte) string {
	t.Helper()
	path := filepath.Join(root, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestIdentify(t *testing.T) {
	for _, tt := range []struct {
		name, info string
		want       Kernel
	}{
		{"new kernel", "OSRELEASE=" + release + "\nBUILD-ID=" + strings.ToUpper(id) + "\nKERNELOFFSET=1e00000\n", Kernel{BuildID: id, Offset: 0x1e00000}},
		{"before 5.9", "OSRELEASE=" + release + "\n", Kernel{}},
		{"no VMCOREINFO", "", Kernel{}},
		{"linked without an ID", "BUILD-ID=" + strings.Repeat("0", 40) + "\n", Kernel{}},
		{"hostile", "BUILD-ID=../../../../tmp/x\nKERNELOFFSET=zz\n", Kernel{}},
		{"huge", "BUILD-ID=" + strings.Repeat("ab", 65) + "\n", Kernel{}},
	} {
		got, err := Identify(bytes.NewReader(debugtest.Dump("amd64", release, version, tt.info)))
		if err != nil {
			t.Fatal(err)
		}
		tt.want.Machine, tt.want.Release, tt.want.Version, tt.want.Header = "amd64", release, version, got.Header
		if got != tt.want {
			t.Errorf("%s: got %+v\nwant %+v", tt.name, got, tt.want)
		}
	}
	if _, err := Identify(strings.NewReader("no dump")); err == nil {
		t.Error("no error for a file that is no dump")
	}
}

func TestInspect(t *testing.T) {
	dir := t.TempDir()
	for _, tt := range []struct {
		name string
		file []byte
		want Vmlinux
		err  string
	}{
		{"with DWARF", debugtest.Vmlinux(debugtest.Kernel{BuildID: id, DWARF: true}), Vmlinux{Machine: "amd64", BuildID: id, DWARF: true}, ""},
		{"stripped", debugtest.Vmlinux(debugtest.Kernel{BuildID: id}), Vmlinux{Machine: "amd64", BuildID: id}, ""},
		{"debug information only", debugtest.Vmlinux(debugtest.Kernel{BuildID: id, DWARF: true, Split: true}), Vmlinux{Machine: "amd64", BuildID: id, DWARF: true, Split: true}, ""},
		{"without an ID", debugtest.Vmlinux(debugtest.Kernel{Machine: "arm64", DWARF: true}), Vmlinux{Machine: "arm64", DWARF: true}, ""},
		{"no ELF", []byte("#!/bin/sh\n"), Vmlinux{}, "no ELF: not an ELF file: EOF"},
	} {
		path := write(t, dir, tt.name, tt.file)
		tt.want.Path = path
		got, err := Inspect(path)
		if tt.err != "" {
			if err == nil || err.Error() != filepath.Join(dir, tt.err) {
				t.Errorf("%s: %v, want %s", tt.name, err, tt.err)
			}
			continue
		}
		if err != nil || got != tt.want {
			t.Errorf("%s: %+v, %v\nwant %+v", tt.name, got, err, tt.want)
		}
	}
	if _, err := Inspect(dir); err == nil || err.Error() != dir+": not a regular file" {
		t.Errorf("a directory: %v", err)
	}
}

func TestFind(t *testing.T) {
	good := debugtest.Vmlinux(debugtest.Kernel{BuildID: id, Release: release, Version: version, DWARF: true})
	other := debugtest.Vmlinux(debugtest.Kernel{BuildID: otherID, Release: release, Version: version, DWARF: true})
	stripped := debugtest.Vmlinux(debugtest.Kernel{BuildID: id, Release: release, Version: version})
	split := debugtest.Vmlinux(debugtest.Kernel{BuildID: id, DWARF: true, Split: true})
	anonymous := debugtest.Vmlinux(debugtest.Kernel{Release: release, Version: version, DWARF: true})
	older := debugtest.Vmlinux(debugtest.Kernel{Release: release, Version: "#1 SMP PREEMPT_DYNAMIC Debian 6.1.1-1", DWARF: true})
	arm := debugtest.Vmlinux(debugtest.Kernel{Machine: "arm64", BuildID: id, DWARF: true})
	const debian, boot, build = "usr/lib/debug/boot/vmlinux-" + release, "boot/vmlinux-" + release, "lib/modules/" + release + "/build/vmlinux"
	byID := "usr/lib/debug/.build-id/" + id[:2] + "/" + id[2:] + ".debug"
	kernel := Kernel{Machine: "amd64", Release: release, Version: version, BuildID: id}
	unknown := kernel
	unknown.BuildID = ""
	for _, tt := range []struct {
		name  string
		k     Kernel
		files map[string][]byte
		given string
		want  string // path, and "?" if it is not exact
		err   string // ROOT/ is omitted
	}{
		{"Debian", kernel, map[string][]byte{debian: good}, "", debian, ""},
		{"by ID first", kernel, map[string][]byte{debian: other, byID: good}, "", byID, ""},
		{"the second place", kernel, map[string][]byte{debian: other, boot: stripped, build: good}, "", build, ""},
		{"debug information only", kernel, map[string][]byte{byID: split, boot: stripped}, "", byID + " " + boot, ""},
		{"given", kernel, map[string][]byte{"tmp/x": good}, "tmp/x", "tmp/x", ""},
		{"given, of another build", kernel, map[string][]byte{"tmp/x": other}, "tmp/x", "",
			"tmp/x: of another kernel: its build ID is " + otherID + ", the dump's is " + id},
		{"given, of another machine", kernel, map[string][]byte{"tmp/x": arm}, "tmp/x", "", "tmp/x: of another kernel: its machine is arm64, the dump's is amd64"},
		{"given, stripped", kernel, map[string][]byte{"tmp/x": stripped}, "tmp/x", "", "tmp/x: no debug information"},
		{"given, missing", kernel, nil, "tmp/x", "", "tmp/x: no such file or directory"},
		{"no ID in the dump", unknown, map[string][]byte{debian: good}, "", debian + "?", ""},
		{"no ID in the file", kernel, map[string][]byte{debian: anonymous}, "", debian + "?", ""},
		{"no ID, another version", unknown, map[string][]byte{debian: older}, "", "",
			"vmlinux of kernel " + release + ": not found with debug information;\n" + debian + ": of another kernel: its version is #1 SMP PREEMPT_DYNAMIC Debian 6.1.1-1, the dump's is " + version},
		{"nothing", kernel, map[string][]byte{boot: stripped}, "", "",
			"vmlinux of kernel " + release + " with build ID " + id + ": not found with debug information;\n" + boot + ": no debug information"},
		{"hostile release", Kernel{Machine: "amd64", Release: "../../tmp"}, map[string][]byte{"tmp/vmlinux": good}, "", "",
			"vmlinux of kernel ../../tmp: not found with debug information"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			root := t.TempDir()
			for name, content := range tt.files {
				write(t, root, name, content)
			}
			if tt.given != "" {
				tt.given = filepath.Join(root, tt.given)
			}
			f := Finder{Root: root}
			found, err := f.Find(tt.k, tt.given)
			got := found.Path
			if found.Code != "" {
				got += " " + found.Code
			}
			if err == nil && !found.Exact {
				got += "?"
			}
			text := ""
			if err != nil {
				text = err.Error()
			}
			trim := func(s string) string { return strings.ReplaceAll(s, root+"/", "") }
			if trim(got) != tt.want || trim(text) != tt.err {
				t.Errorf("got %s, error %s\nwant %s, error %s", trim(got), trim(text), tt.want, tt.err)
			}
		})
	}
}

func TestDownload(t *testing.T) {
	root := t.TempDir()
	good := write(t, root, "cache/debuginfo", debugtest.Vmlinux(debugtest.Kernel{BuildID: id, DWARF: true}))
	bad := write(t, root, "cache/bad", debugtest.Vmlinux(debugtest.Kernel{BuildID: otherID, DWARF: true}))
	kernel := Kernel{Machine: "amd64", Release: release, BuildID: id}
	for _, tt := range []struct {
		path string
		err  error
		want string // of the error
	}{
		{good, nil, ""},
		{"", nil, "not found with debug information"},
		{"", errors.New("debuginfod: no server has the debug information"), "debuginfod: no server has the debug information"},
		{bad, nil, "its build ID is " + otherID},
	} {
		f := Finder{Root: root, Download: func(got string) (string, error) {
			if got != id {
				t.Errorf("asked for %s", got)
			}
			return tt.path, tt.err
		}}
		found, err := f.Find(kernel, "")
		if tt.want == "" {
			if err != nil || found.Path != tt.path {
				t.Errorf("%+v, %v", found, err)
			}
		} else if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%v, want %s", err, tt.want)
		}
	}
}

// A program in place of debuginfod-find.
func TestDebuginfod(t *testing.T) {
	root := t.TempDir()
	t.Setenv("DEBUGINFOD_URLS", "https://one")
	d := Debuginfod{Root: root, Limit: 1 << 40, Program: write(t, root, "find", []byte("#!/bin/sh\n[ $1 = debuginfo ] && [ \"$DEBUGINFOD_URLS\" = https://one ] && echo /cache/$2 || { echo no >&2; exit 1; }\n"))}
	os.Chmod(d.Program, 0o755)
	if path, err := d.Find(id); path != "/cache/"+id || err != nil {
		t.Errorf("%s, %v", path, err)
	}
	write(t, root, "etc/debuginfod/x.urls", []byte("https://two\nhttps://three\n"))
	if got := d.URLs(); got != "https://one" {
		t.Errorf("got %s", got)
	}
	t.Setenv("DEBUGINFOD_URLS", "")
	if _, err := d.Find(id); err == nil || err.Error() != "debuginfod: no" {
		t.Error(err)
	}
	os.Unsetenv("DEBUGINFOD_URLS")
	if got := d.URLs(); got != "https://two https://three" {
		t.Errorf("got %s", got)
	}
}

func TestAdvice(t *testing.T) {
	const (
		debian, ubuntu, arch = "ID=debian", "ID=ubuntu\nID_LIKE=debian", "ID=arch"
		rocky                = "ID=\"rocky\"\nID_LIKE=\"rhel fedora\""
		suse                 = "ID=opensuse-leap\nID_LIKE='suse opensuse'"
		archText             = "Run it again with DEBUGINFOD_URLS=https://debuginfod.archlinux.org and the package debuginfod."
		byHand               = "This distribution has no debug information of kernel RELEASE: somebody built it by hand, or it is of another system. " +
			"Give --vmlinux the vmlinux of its build tree, with build ID 0123456789."
	)
	for _, c := range []struct{ name, os, release, version, want string }{
		{"Debian", debian, release, version, "Run apt-get install linux-image-RELEASE-dbg."},
		{"Debian, version not known", debian, "6.12.48+deb13-amd64", "", "Run apt-get install linux-image-RELEASE-dbg."},
		{"Debian's backports", debian, "6.12.9+bpo-cloud-arm64", "", "Run apt-get install linux-image-RELEASE-dbg."},
		{"Debian's older backports", debian, "6.1.0-0.deb11.21-rt-amd64", "", "Run apt-get install linux-image-RELEASE-dbg."},
		{"Raspberry Pi OS", debian, "6.6.51+rpt-rpi-v8", "#1 SMP PREEMPT Debian 1:6.6.51-1+rpt3 (2024-10-08)", "Run apt-get install linux-image-RELEASE-dbg."},
		{"built by hand", debian, "6.12.48", "#1 SMP PREEMPT_DYNAMIC Mon Nov 30 15:31:32 UTC 2026", byHand},
		{"built by hand with a name", debian, "6.12.48-mine", "", byHand},
		{"built by hand from git", debian, "7.0.0-rc3-00012-gabcdef012345-dirty", "", byHand},
		{"built by hand from changed sources", debian, "7.0.0+", "", byHand},
		{"built by hand with the name of a package", debian, release, "#2 SMP PREEMPT_DYNAMIC Mon Nov 30 15:31:32 UTC 2026", byHand},
		{"of another distribution", debian, "6.10.6-200.fc40.x86_64", "", byHand},
		{"Ubuntu", ubuntu, "6.8.0-45-generic", "#45~22.04.1-Ubuntu SMP PREEMPT_DYNAMIC Wed", "Run apt-get install linux-image-RELEASE-dbgsym; it is on ddebs.ubuntu.com, see the package ubuntu-dbgsym-keyring."},
		{"Ubuntu, a mainline build", ubuntu, "6.9.0-060900-generic", "#202405122134 SMP PREEMPT_DYNAMIC Sun", byHand},
		{"Rocky", rocky, "5.14.0-427.13.1.el9_4.x86_64+rt", "#1 SMP", "Run dnf debuginfo-install kernel-core-RELEASE."},
		{"Fedora", "ID=fedora", "6.10.6-200.fc40.x86_64", "", "Run dnf debuginfo-install kernel-core-RELEASE."},
		{"Fedora, built by hand", "ID=fedora", "6.10.6", "", byHand},
		{"Arch", arch, "6.10.1-arch1-1", "", archText},
		{"Arch's LTS", arch, "6.6.41-1-lts", "", archText},
		{"Arch, built by hand", arch, "6.10.1-1-mine", "", byHand},
		{"openSUSE", suse, "6.4.0-150600.23.7-default", "", "Run zypper --plus-content debug install kernel-default-debuginfo."},
		{"openSUSE, built by hand", suse, "6.4.0-1-amd64", "", byHand},
		{"a distribution that is not known", "", release, version, "Install the debug information of kernel RELEASE, or give --vmlinux FILE."},
	} {
		root := t.TempDir()
		write(t, root, "etc/os-release", []byte(c.os+"\n"))
		f := Finder{Root: root}
		_, err := f.Find(Kernel{Machine: "amd64", Release: c.release, Version: c.version, BuildID: "0123456789"}, "")
		want := strings.ReplaceAll(c.want, "RELEASE", c.release) + " Without it, kdumpctl report shows the stacks, and kdumpctl log the log."
		if got := advice.For(err); got != want {
			t.Errorf("%s:\n got %s\nwant %s", c.name, got, want)
		}
	}
	hostile := NotFoundError{os: map[string]string{"ID": "debian"}, Kernel: Kernel{Release: "x; rm -rf /"}}
	if got := hostile.Advice(); strings.Contains(got, "rf") {
		t.Error(got)
	}
}

func TestCommand(t *testing.T) {
	found := Found{Vmlinux: Vmlinux{Path: "/a b/vmlinux"}}
	for _, tt := range []struct {
		d    Debugger
		code string
		want string
	}{
		{Crash, "", "crash '/a b/vmlinux' /v/vmcore -s"},
		{Crash, "/boot/vmlinux", "crash /boot/vmlinux '/a b/vmlinux' /v/vmcore -s"},
		{Drgn, "", "drgn -c /v/vmcore -s '/a b/vmlinux' -s"},
		{GDB, "", `gdb -c /v/vmcore -ex 'symbol-file '\''/a b/vmlinux'\'' -o 0x1e00000' -s`},
	} {
		found.Code = tt.code
		if got := ShellQuote(tt.d.Command(found, "/v/vmcore", Kernel{Offset: 0x1e00000}, []string{"-s"})); got != tt.want {
			t.Errorf("got %s\nwant %s", got, tt.want)
		}
	}
}

func TestChoose(t *testing.T) {
	for _, tt := range []struct {
		with, installed, machine string
		format                   dumpfile.Format
		want                     Debugger
	}{
		{"", "gdb drgn crash", "amd64", dumpfile.Kdump, Crash},
		{"", "gdb drgn", "amd64", dumpfile.Kdump, Drgn},
		{"", "gdb", "amd64", dumpfile.Kdump, GDB},
		{"", "gdb", "arm64", dumpfile.Kdump, ""},
		{"", "gdb", "arm64", dumpfile.ELF, GDB},
		{"", "", "amd64", dumpfile.ELF, ""},
		{"drgn", "crash", "amd64", dumpfile.Kdump, Drgn},
		{"gdb", "gdb", "arm64", dumpfile.Kdump, ""},
	} {
		look := func(name string) (string, error) {
			if strings.Contains(tt.installed, name) {
				return "/usr/bin/" + name, nil
			}
			return "", os.ErrNotExist
		}
		got, err := Choose(tt.with, Kernel{Machine: tt.machine, Header: dumpfile.Header{Format: tt.format}}, look)
		if got != tt.want || (err == nil) != (tt.want != "") || err != nil && advice.For(err) == "" {
			t.Errorf("%+v: %s, %v", tt, got, err)
		}
	}
}

// The ELF core of a real dump has the same memory, by the same addresses.
func TestELFCore(t *testing.T) {
	for _, name := range dumptest.Real(t) {
		d, err := dump.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		defer d.Close()
		path := filepath.Join(t.TempDir(), "core")
		f, err := os.Create(path)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if err := ELFCore(f, d, nil); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		core, err := elf.NewFile(f)
		if err != nil {
			t.Fatal(err)
		}
		k, err := symbols.Open(d, d.Info(), d.Machine())
		if err != nil {
			t.Fatal(err)
		}
		banner, err := k.Lookup("linux_banner")
		if err != nil {
			t.Fatal(err)
		}
		modules, _ := k.Modules()
		base, _ := directMap(d, k)
		p, _ := d.Translate(banner)
		for _, addr := range []uint64{banner, base + p, modules[0].Addr, d.CPUs()[0].SP() &^ 63} {
			var want, got [64]byte
			if err := d.ReadVirt(want[:], addr); err != nil {
				t.Fatal(err)
			}
			found := false
			for _, ph := range core.Progs {
				if ph.Type == elf.PT_LOAD && addr >= ph.Vaddr && addr+64 <= ph.Vaddr+ph.Filesz {
					ph.ReadAt(got[:], int64(addr-ph.Vaddr))
					found = true
				}
			}
			if !found || got != want {
				t.Errorf("%s: %#x: found %v, %q, want %q", name, addr, found, got, want)
			}
		}
		k2, err := IdentifyFile(path)
		if err != nil || k2.Header.Format != dumpfile.ELF {
			t.Errorf("%+v, %v", k2, err)
		}
		fi, _ := f.Stat()
		t.Logf("%s: %d segments, %d bytes", name, len(core.Progs), fi.Size())
	}
}

func FuzzInspect(f *testing.F) {
	f.Add(debugtest.Vmlinux(debugtest.Kernel{BuildID: id, Release: release, DWARF: true}))
	f.Add(debugtest.Vmlinux(debugtest.Kernel{BuildID: id, Release: release, Split: true}))
	f.Fuzz(func(t *testing.T, file []byte) {
		var v Vmlinux
		if v.read(bytes.NewReader(file), true) == nil && v.BuildID != buildID(v.BuildID) {
			t.Errorf("build ID %q", v.BuildID)
		}
	})
}

func FuzzIdentify(f *testing.F) {
	f.Add(debugtest.Dump("amd64", release, version, "BUILD-ID="+id+"\nKERNELOFFSET=1e00000\n"))
	f.Fuzz(func(t *testing.T, dump []byte) {
		k, err := Identify(bytes.NewReader(dump))
		if err == nil && k.BuildID != buildID(k.BuildID) {
			t.Errorf("build ID %q", k.BuildID)
		}
	})
}
