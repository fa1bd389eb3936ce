package mkinitrd

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"ukdump/initramfs"
	"ukdump/internal/builder/buildtest"
	"ukdump/internal/cli"
	"ukdump/internal/cli/clitest"
	"ukdump/internal/plan"
)

// result is the outcome of one run of the program.
type result struct {
	status         int
	stdout, stderr string
}

var (
	seconds = regexp.MustCompile(`\d+\.\d s`)
	targets = regexp.MustCompile(`\ntarget: /srv/dumps: xfs \S+ on sda, directory /dumps\ntarget: /var/crash: ext4 \S+ on vde1, directory /var/crash\n`)
	cmdline = regexp.MustCompile(`command line: rootfstype=ramfs .*\n`)
)

// mkkdumpinitrd runs the program in process. ROOT, PID1 and DIR in arguments and
// output stand for those of m.
func mkkdumpinitrd(m *buildtest.Machine, args ...string) result {
	dir := filepath.Dir(m.Root)
	in := strings.NewReplacer("ROOT", m.Root, "PID1", m.Pid1, "DIR", dir)
	out := strings.NewReplacer(m.Root, "ROOT", m.Pid1, "PID1", dir, "DIR")
	args = slices.Clone(args)
	for i, a := range args {
		args[i] = in.Replace(a)
	}
	var stdout, stderr bytes.Buffer
	status := Run(&cli.Program{Name: "mkkdumpinitrd", Args: args, Stdout: &stdout, Stderr: &stderr})
	return result{status, seconds.ReplaceAllString(out.Replace(stdout.String()), "N s"), out.Replace(stderr.String())}
}

// builds are the arguments that build an image for the machine.
var builds = []string{"--root", "ROOT", "--kdumpinit", "PID1"}

const defaultImage = "ROOT/var/lib/ukdump/initramfs-" + buildtest.Release + ".img"

func TestBuild(t *testing.T) {
	m := buildtest.New(t)
	r := mkkdumpinitrd(m, append(builds, "--explain")...)
	if r.status != 0 || r.stderr != "" {
		t.Fatalf("got %+v", r)
	}
	buildtest.Golden(t, "explain.txt", cmdline.ReplaceAll([]byte(r.stdout), []byte("command line: ...\n")))
	for name, mode := range map[string]os.FileMode{"": os.ModeDir | 0o700, "/initramfs-" + buildtest.Release + ".img": 0o600} {
		if fi, err := os.Stat(m.Root + "/var/lib/ukdump" + name); err != nil || fi.Mode() != mode {
			t.Errorf("%s: mode %v, %v, want %v", name, fi.Mode(), err, mode)
		}
	}

	r = mkkdumpinitrd(m, "ls", "--long", defaultImage)
	if r.status != 0 || r.stderr != "" {
		t.Errorf("got %+v", r)
	}
	buildtest.Golden(t, "ls.txt", []byte(r.stdout))

	for _, name := range []string{"init", "/init", "./init"} {
		if r = mkkdumpinitrd(m, "cat", defaultImage, name); r.status != 0 || !strings.Contains(r.stdout, plan.Stamp) {
			t.Errorf("cat %s: %+v", name, r)
		}
	}
	if r = mkkdumpinitrd(m, "cat", defaultImage, plan.Path); r.status != 0 {
		t.Errorf("got %+v", r)
	}
	if p, err := plan.Parse([]byte(r.stdout)); err != nil || p.Kernel.Release != buildtest.Release {
		t.Errorf("plan %+v, %v", p, err)
	}
}

func TestExplainRaw(t *testing.T) {
	m := buildtest.New(t)
	m.AddSwap()
	m.AddDisk()
	m.Write("etc/ukdump.conf", "EVIDENCE=/srv\n")
	r := mkkdumpinitrd(m, append(builds, "--target=raw:swap", "--explain")...)
	const want = "\ntarget: raw:swap: nvme0n1p1, 128.0 MiB, PARTUUID 11111111-0000-4000-8000-000000000001, holds swap 00000000-0000-4000-8000-000000000020\n" +
		"evidence: /srv: xfs 00000000-0000-4000-8000-000000000004 on sda, directory /\nprocessors: 1: less than 16 GiB of memory are saved in seconds\ncompression: lzo: it takes the least time of the processor\ncommand line: "
	if r.status != 0 || !strings.Contains(r.stdout, want) {
		t.Errorf("got %+v\nwant %s", r, want)
	}
}

// With DUMP=log there is nothing to save the memory with, and --explain says so.
func TestExplainLogOnly(t *testing.T) {
	m := buildtest.New(t)
	m.Write("etc/ukdump.conf", "DUMP=log\n")
	r := mkkdumpinitrd(m, append(builds, "--explain")...)
	if r.status != 0 || !strings.Contains(r.stdout, "\ndump: only the kernel log and the report are saved (DUMP=log)\n") ||
		strings.Contains(r.stdout, "makedumpfile") || strings.Contains(r.stdout, " lib/lib") {
		t.Errorf("got %+v", r)
	}
}

// Options win over the configuration.
func TestOptions(t *testing.T) {
	m := buildtest.New(t)
	m.AddDisk()
	m.Write("etc/ukdump.conf", "KERNEL=/nowhere/vmlinuz\nTARGET=relative is an error\n")
	m.Write("other.conf", "KERNEL=/nowhere/vmlinuz\n")
	m.Write("srv/kernel", m.Read("boot/vmlinuz-"+buildtest.Release))
	r := mkkdumpinitrd(m, append(builds, "--config=ROOT/other.conf", "--kernel", "/srv/kernel", "--target", "/srv/dumps", "--target=/var/crash",
		"--compress=none", "--output", "DIR/out.img", "--explain")...)
	if r.status != 0 || !targets.MatchString(r.stdout) || !strings.Contains(r.stdout, "packed with none") {
		t.Errorf("got %+v", r)
	}
	b, err := os.ReadFile(filepath.Join(filepath.Dir(m.Root), "out.img"))
	if err != nil || !strings.HasPrefix(string(b), "070701") {
		t.Errorf("image begins with %.6q, %v", b, err)
	}
	if _, err := os.Stat(m.Root + "/var/lib/ukdump"); err == nil {
		t.Error("the default directory was made though --output names another one")
	}
}

func TestHelp(t *testing.T) {
	m := buildtest.New(t)
	var help bytes.Buffer
	for _, args := range []string{"--help", "ls -h", "cat -h", "completion -h"} {
		r := mkkdumpinitrd(m, strings.Fields(args)...)
		if r.status != 0 || r.stderr != "" {
			t.Errorf("%s: %+v", args, r)
		}
		fmt.Fprintf(&help, "$ mkkdumpinitrd %s\n%s\n", args, r.stdout)
	}
	buildtest.Golden(t, "help.txt", help.Bytes())
	if r := mkkdumpinitrd(m, "--version"); r != (result{0, "mkkdumpinitrd " + plan.Software + "\n", ""}) {
		t.Errorf("--version: %+v", r)
	}
}

// The manual page has the program, its verbs and all options.
func TestManualPage(t *testing.T) {
	p := &cli.Program{Name: "mkkdumpinitrd"}
	root, verbs := commands(p)
	clitest.Page(t, "../../docs/mkkdumpinitrd.8", "", p, append([]*cli.Command{root}, verbs...))
}

// The matrix of bad input. Each is answered with one line, and one of advice for
// some, and changes no file.
func TestBadInput(t *testing.T) {
	const (
		vmlinuz = "boot/vmlinuz-" + buildtest.Release
		image   = "var/lib/ukdump/initramfs-" + buildtest.Release + ".img"
	)
	plain := func(change func(im *initramfs.Image)) string {
		var im initramfs.Image
		change(&im)
		var b bytes.Buffer
		if err := im.Write(&b, initramfs.Gzip); err != nil {
			t.Fatal(err)
		}
		return b.String()
	}
	m := buildtest.New(t)
	foreign := plain(func(im *initramfs.Image) { im.AddFile("init", []byte("#!/bin/sh\n"), 0o755) })
	for _, tt := range []struct {
		name   string
		change func(m *buildtest.Machine)
		args   []string
		status int
		want   string // beginning of stderr behind the program's name
	}{
		{"unknown option", nil, []string{"--kernal", "x"}, 2, "unknown flag: --kernal: see mkkdumpinitrd --help\n"},
		{"argument", nil, []string{"build"}, 2, `unknown verb "build": see mkkdumpinitrd --help` + "\n"},
		{"relative target", nil, append(builds, "--target=crash"), 2, "--target: \"crash\" is neither an absolute path of a directory, nor a raw device as in raw:PARTUUID=ID, nor a target at a server as in sftp://USER@HOST/PATH\n"},
		{"relative second target", nil, append(builds, "--target=/var/crash", "--target", "crash"), 2, "--target: \"crash\" is neither an absolute path of a directory, nor a raw device as in raw:PARTUUID=ID, nor a target at a server as in sftp://USER@HOST/PATH\n"},
		{"mounted raw target", nil, append(builds, "--target=raw:/dev/vde1"), 1, "raw:/dev/vde1: vde1: a file system on it is mounted on /\n"},
		{"unsupported second target", func(m *buildtest.Machine) { m.Mount("0:30 / /mnt rw - nfs4 server:/x rw") },
			append(builds, "--target=/var/crash", "--target=/mnt/crash"), 1, "storage of /mnt/crash: nfs4 file system mounted on /mnt is not supported"},
		{"unknown compression", nil, append(builds, "--compress=lzma"), 2, "--compress lzma: "},
		{"ls without an image", nil, []string{"ls"}, 2, "an argument is missing: see mkkdumpinitrd ls --help\n"},
		{"cat without a file", nil, []string{"cat", "x"}, 2, "an argument is missing: see mkkdumpinitrd cat --help\n"},

		{"unknown key", func(m *buildtest.Machine) { m.Write("etc/ukdump.conf", "# x\nKERNAL=1\n") }, builds, 1,
			"ROOT/etc/ukdump.conf:2: unknown key KERNAL (did you mean KERNEL?)\n"},
		{"bad value", func(m *buildtest.Machine) { m.Write("etc/ukdump.conf.d/9.conf", "DUMP_LEVEL=32\n") }, builds, 1,
			"ROOT/etc/ukdump.conf.d/9.conf:1: DUMP_LEVEL=32: not a number from 0 to 31\n"},
		{"no configuration", nil, append(builds, "--config=DIR/none"), 1, "read configuration: DIR/none: no such file or directory\n"},
		{"kernel missing", nil, append(builds, "--kernel=/boot/none"), 1, "read kernel: ROOT/boot/none: no such file or directory\n"},
		{"kernel a directory", nil, append(builds, "--kernel=/boot"), 1, "read kernel: ROOT/boot: not a kernel image: a directory\n"},
		{"kernel truncated", func(m *buildtest.Machine) { m.Write("k", m.Read(vmlinuz)[:9000]) }, append(builds, "--kernel=/k"), 1,
			"read kernel: ROOT/k: file is truncated: 9000 of 65536 bytes\n"},
		{"not a kernel", func(m *buildtest.Machine) { m.Write("k", foreign) }, append(builds, "--kernel=/k"), 1,
			"read kernel: ROOT/k: not a kernel image: gzip-compressed: inside is a cpio archive (initramfs)\n"},
		{"kernel of another architecture", func(m *buildtest.Machine) {
			m.Write("k", strings.Repeat("\x00", 48)+"RISCV\x00\x00\x00"+strings.Repeat("\x00", 100))
		}, append(builds, "--kernel=/k"), 1, "read kernel: ROOT/k: not a kernel image: a kernel for riscv64, which is not supported\n"},
		{"no such release", nil, append(builds, "--kernel=1.2.3"), 1, "find kernel: 1.2.3: no image of this release below ROOT, only of 6.1.0-50-amd64"},
		{"neither path nor release", nil, append(builds, "--kernel=vmlinuz"), 1, `find kernel: "vmlinuz": neither a path (with a slash) nor a kernel release` + "\n"},
		{"release without module tree", func(m *buildtest.Machine) { m.Write("boot/vmlinuz-6.2.0", string(buildtest.Kernel("6.2.0"))) },
			append(builds, "--kernel=6.2.0"), 1, "modules of kernel ROOT/boot/vmlinuz-6.2.0 (6.2.0): no directory "},
		{"modules.dep truncated", func(m *buildtest.Machine) {
			m.Write("lib/modules/"+buildtest.Release+"/modules.dep", "kernel/fs/ext4.ko: kernel/li")
		}, builds, 1, "module tree of kernel " + buildtest.Release + ": no module for driver virtio_blk of /sys/devices/pci0000:00/0000:00:02.0/0000:01:00.0/virtio5: modules.dep:1: the last line is cut off\n"},
		{"no makedumpfile", func(m *buildtest.Machine) { m.Remove("usr/bin/makedumpfile") }, builds, 1, "makedumpfile: not found in /usr/sbin "},
		{"no library", func(m *buildtest.Machine) { m.Remove("usr/lib/x86_64-linux-gnu/libz.so.1") }, builds, 1,
			"library libz.so.1: needed by /usr/bin/makedumpfile: not found in "},
		{"kdumpinit missing", nil, append(builds, "--kdumpinit=DIR/none"), 1, "kdumpinit: DIR/none: no such file or directory\n"},
		{"kdumpinit dynamic", func(m *buildtest.Machine) {
			m.Write("pid1", string(buildtest.ELF{Interp: "/lib/ld.so", Text: plan.Stamp}.Bytes()))
		}, append(builds, "--kdumpinit=ROOT/pid1"), 1, "kdumpinit: ROOT/pid1: dynamically linked, "},
		{"kdumpinit of another version", func(m *buildtest.Machine) { m.Write("pid1", string(buildtest.Pid1(plan.Marker+"9.9;").Bytes())) },
			append(builds, "--kdumpinit=ROOT/pid1"), 1, `kdumpinit: ROOT/pid1: version "9.9", but this is version ` + plan.Software + "\n"},
		{"no such root", nil, []string{"--root=DIR/none", "--kdumpinit=PID1"}, 1, "stat DIR/none: no such file or directory\n"},

		{"no such directory", nil, append(builds, "--output=DIR/none/x.img"), 1, "write image DIR/none/x.img: "},
		{"below a file", nil, append(builds, "--output=PID1/x.img"), 1, "write image PID1/x.img: "},
		{"output a directory", nil, append(builds, "--output=ROOT"), 1, "write image ROOT: not a regular file\n"},
		{"output -", nil, append(builds, "--output=-"), 2, "--output takes a file: for one called -, give ./-\n"},
		{"default directory is a file", func(m *buildtest.Machine) { m.Write("var/lib/ukdump", "") }, builds, 1, "mkdir ROOT/var/lib/ukdump: not a directory\n"},

		{"ls: missing", nil, []string{"ls", "DIR/none"}, 1, "open DIR/none: no such file or directory\n"},
		{"ls: a directory", nil, []string{"ls", "ROOT"}, 1, "open ROOT: not a regular file\n"},
		{"ls: not an image", nil, []string{"ls", "PID1"}, 1, "PID1: not an initramfs: "},
		{"ls: empty", func(m *buildtest.Machine) { m.Write(image, "") }, []string{"ls", "ROOT/" + image}, 1, "ROOT/" + image + ": not an initramfs: the file is empty\n"},
		{"ls: truncated", func(m *buildtest.Machine) { m.Write(image, foreign[:len(foreign)/2]) }, []string{"ls", "ROOT/" + image}, 1,
			"ROOT/" + image + ": corrupt initramfs: offset "},
		{"cat: truncated", func(m *buildtest.Machine) { m.Write(image, foreign[:len(foreign)-3]) }, []string{"cat", "ROOT/" + image, "init"}, 1,
			"ROOT/" + image + ": corrupt initramfs: offset "},
		{"cat: no such file", func(m *buildtest.Machine) { m.Write(image, foreign) }, []string{"cat", "ROOT/" + image, plan.Path}, 1,
			"ROOT/" + image + ": no file " + plan.Path + ": see mkkdumpinitrd ls ROOT/" + image + "\n"},
	} {
		m.Run(t, tt.name, func(t *testing.T) {
			if tt.change != nil {
				tt.change(m)
			}
			before := buildtest.Snapshot(t, filepath.Dir(m.Root))
			r := mkkdumpinitrd(m, tt.args...)
			if r.status != tt.status || !strings.HasPrefix(r.stderr, "mkkdumpinitrd: "+tt.want) {
				t.Errorf("status %d\ngot  %swant mkkdumpinitrd: %s", r.status, r.stderr, tt.want)
			}
			if lines := strings.Count(r.stderr, "\n"); r.stdout != "" || lines < 1 || lines > 2 {
				t.Errorf("stdout %q, %d lines on stderr: %s", r.stdout, lines, r.stderr)
			}
			if after := buildtest.Snapshot(t, filepath.Dir(m.Root)); !slices.Equal(after, before) {
				t.Error("files were changed")
			}
		})
	}
}

func TestFullDisk(t *testing.T) {
	m := buildtest.New(t)
	m.Write("var/lib/ukdump/initramfs-"+buildtest.Release+".img", "the old image")
	m.Grow()
	before := buildtest.Snapshot(t, filepath.Dir(m.Root))
	var r result
	buildtest.FullDisk(t, func() { r = mkkdumpinitrd(m, builds...) })
	if r.status != 1 || r.stdout != "" || !strings.HasPrefix(r.stderr, "mkkdumpinitrd: write image "+defaultImage+": ") || strings.Count(r.stderr, "\n") > 2 {
		t.Errorf("got %+v", r)
	}
	if after := buildtest.Snapshot(t, filepath.Dir(m.Root)); !slices.Equal(after, before) {
		t.Errorf("got %q\nwant %q", after, before)
	}
}

// A foreign image can be looked at, and its names cannot steer the terminal.
func TestForeign(t *testing.T) {
	m := buildtest.New(t)
	// By hand: our own writer refuses such names.
	record := func(mode int, name, data string) string {
		pad := func(s string) string { return s + strings.Repeat("\x00", -len(s)&3) }
		hex := func(n int) string { return fmt.Sprintf("%08X", n) }
		return pad("070701"+hex(1)+hex(mode)+hex(0)+hex(0)+hex(1)+hex(0)+hex(len(data))+strings.Repeat(hex(0), 4)+hex(len(name)+1)+hex(0)+name+"\x00") + pad(data)
	}
	m.Write("foreign.img", record(0o100644, "a\x1b[2Jb\nc", "x")+record(0o120777, "link", "\x1b]0;t\x07")+record(0, "TRAILER!!!", ""))
	r := mkkdumpinitrd(m, "ls", "ROOT/foreign.img")
	if want := "a?[2Jb c\nlink -> ?]0;t?\n"; r != (result{0, want, ""}) {
		t.Errorf("got %+v, want %q", r, want)
	}
}

func TestEmergency(t *testing.T) {
	m := buildtest.New(t)
	m.Write("etc/ukdump.conf", "MODE=emergency\n")
	want := result{1, "", "mkkdumpinitrd: nothing to build: MODE=emergency loads the distribution's own initramfs\nmkkdumpinitrd: Run kdumpctl load.\n"}
	if r := mkkdumpinitrd(m, builds...); r != want {
		t.Errorf("got %+v", r)
	}
}
