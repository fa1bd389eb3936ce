package ctl

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"filippo.io/age"
	"golang.org/x/sys/unix"

	"ukdump/internal/cli"
)

// What another tool has saved is named as that, with the verbs that read it.
func TestDumpsOfOthers(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	core := kdump(false)
	m.Write("var/crash/202611300100/dmesg.202611300100", "log")
	m.Write("var/crash/202611300100/dump.202611300100", core) // kdump-tools
	m.Write("var/crash/127.0.0.1-2026-11-30-01:00:00/vmcore", core)
	m.Write("var/crash/2026-11-30-01:00/vmcore", core) // kdump of openSUSE
	m.Write("var/crash/vmcore.1", core)
	m.Write("var/crash/_usr_bin_x.1000.crash", "ProblemType: Crash\n")
	m.Write("var/crash/empty/vmcore", "")
	m.Write("elsewhere/vmcore", core)
	if err := unix.Mkfifo(filepath.Join(m.Root, "var/crash/empty/a"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/dev/zero", filepath.Join(m.Root, "var/crash/empty/b")); err != nil {
		t.Fatal(err)
	}
	const list = "kdumpctl list shows all dumps."
	others := func(dir, core string) string {
		return dir + " is not the directory of a dump of ukdump, but has a vmcore of another tool\nkdumpctl: kdumpctl report " +
			core + " reports why that kernel crashed, and kdumpctl import takes the file in as a dump."
	}
	const at = "ROOT/var/crash/"
	for args, want := range map[string]string{
		"info 202611300100":                          others(at+"202611300100", at+"202611300100/dump.202611300100"),
		"report 202611300100":                        others(at+"202611300100", at+"202611300100/dump.202611300100"),
		"export 202611300100":                        others(at+"202611300100", at+"202611300100/dump.202611300100"),
		"log ROOT/var/crash/202611300100":            others(at+"202611300100", at+"202611300100/dump.202611300100"),
		"info 127.0.0.1-2026-11-30-01:00:00":         others(at+"127.0.0.1-2026-11-30-01:00:00", at+"127.0.0.1-2026-11-30-01:00:00/vmcore"),
		"info --dir ROOT/var/crash 2026-11-30-01:00": others(at+"2026-11-30-01:00", at+"2026-11-30-01:00/vmcore"),
		"info ROOT/elsewhere":                        others("ROOT/elsewhere", "ROOT/elsewhere/vmcore"),
		"info vmcore.1": at + "vmcore.1 is a vmcore, and not the directory of a dump\nkdumpctl: kdumpctl report " + at +
			"vmcore.1 reports why that kernel crashed, and kdumpctl import takes the file in as a dump.",
		"info empty":                 at + "empty is not the directory of a dump\nkdumpctl: " + list,
		"info _usr_bin_x.1000.crash": at + "_usr_bin_x.1000.crash is not the directory of a dump\nkdumpctl: " + list,
		"info 2026112":               "dump 2026112: not found in ROOT/var/crash\nkdumpctl: " + list,
	} {
		if got := m.kdumpctl(args); got != (result{1, "", "kdumpctl: " + want + "\n"}) {
			t.Errorf("%s:\n got %+v\nwant %s", args, got, want)
		}
	}
}

// - is the standard output, or is refused where a directory or a program's file is meant. An
// archive does not go to a terminal.
func TestOutputDash(t *testing.T) {
	m := newMachine(t)
	m.Write("var/crash/2026-11-20T01-00-00Z/vmcore", kdump(false))
	m.Write("var/crash/2026-11-20T01-00-00Z/vmcore-dmesg.txt", "[    1.000000] Kernel panic - not syncing: x\n")
	id, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	m.Write("key", id.String()+"\n")
	t.Chdir(t.TempDir())
	for args, want := range map[string]result{
		"export --output - 2026-11-20":                      {0, "\x28\xb5\x2f\xfd", ""},
		"export -o - --scrub 2026-11-20":                    {0, "\x28\xb5\x2f\xfd", ""},
		"report --output - 2026-11-20":                      {0, "", ""},
		"metrics --output -":                                {0, "# HELP ", ""},
		"decrypt --identity ROOT/key --output - 2026-11-20": {2, "", "kdumpctl: decrypt: --output takes a directory: for one called -, give ./-\n"},
		"metrics --output ROOT/var/crash":                   {1, "", "kdumpctl: write ROOT/var/crash: a directory, not a file\nkdumpctl: Give --output the name of a file in it.\n"},
		"metrics --output /dev/null":                        {1, "", "kdumpctl: write /dev/null: a device, pipe or socket, not a file\nkdumpctl: Give --output the name of a file.\n"},
		"report --output ROOT/var/crash 2026-11-20":         {1, "", "kdumpctl: write ROOT/var/crash: a directory, not a file\nkdumpctl: Give --output the name of a file in it.\n"},
	} {
		got := m.kdumpctl(args)
		if got.status != want.status || !strings.HasPrefix(got.stdout, want.stdout) || want.stderr != "" && got.stderr != want.stderr || want.status == 0 && got.stdout == "" {
			t.Errorf("%s:\n got %d, %.40q, %s\nwant %+v", args, got.status, got.stdout, got.stderr, want)
		}
	}
	if left, err := os.ReadDir("."); err != nil || len(left) > 0 {
		t.Errorf("files are left: %v, %v", left, err)
	}
	terminal, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil || !cli.IsTerminal(terminal) {
		t.Skip("no pseudoterminal")
	}
	defer terminal.Close()
	c := m.ctl()
	c.Stdout = terminal
	err = c.export(exportOptions{output: "-"}, "2026-11-20")
	if want := "--output=-: an archive is not text for a terminal: redirect the output, or give a file"; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

// setup says what to do if the files of the loader have no entry that it can change, or a line
// that it does not understand.
func TestSetupByHand(t *testing.T) {
	t.Parallel()
	m := grubMachine(t)
	m.Write("etc/default/grub", "GRUB_CMDLINE_LINUX_DEFAULT=(quiet splash)\n")
	got := m.kdumpctl("setup")
	if want := "kdumpctl: setup: grub: /etc/default/grub:1: GRUB_CMDLINE_LINUX_DEFAULT is an array, which ukdump does not change\n" +
		"kdumpctl: Put crashkernel=128M into GRUB_CMDLINE_LINUX_DEFAULT of /etc/default/grub, then run update-grub.\n"; got != (result{1, "", want}) {
		t.Errorf("got %+v\nwant %s", got, want)
	}

	const damaged = "detect the boot loader grub: /boot/grub/grub.cfg:1: a brace ({) that is not closed\n"
	const again = "Run update-grub, which writes the file again, then run kdumpctl setup again.\n"
	m.Write("boot/grub/grub.cfg", "menuentry a {\n")
	got = m.kdumpctl("setup")
	if got.status != 0 || !strings.Contains(got.stdout, "note         "+damaged+"by hand      "+again) {
		t.Errorf("got %+v", got)
	}
	if got := m.kdumpctl("setup --loader=grub"); got != (result{1, "", "kdumpctl: setup: " + damaged + "kdumpctl: " + again}) {
		t.Errorf("got %+v", got)
	}

	m.Remove("boot/grub/grub.cfg")
	m.Write("boot/limine.conf", "/Linux\n  path: boot():/vmlinuz\n")
	got = m.kdumpctl("setup")
	const byHand = "ukdump finds no entry with \"protocol: linux\" in /boot/limine.conf. Put crashkernel=128M into a line \"cmdline:\" of the entry of your kernel in /boot/limine.conf, below \"protocol: linux\"."
	if !strings.Contains(got.stdout, "by hand      "+byHand+"\n") || got.status != 0 {
		t.Errorf("got %+v\nwant %s", got, byHand)
	}
	if got := m.kdumpctl("setup --apply"); got.status != 1 || !strings.HasSuffix(got.stderr, "kdumpctl: setup: something is left to do by hand\nkdumpctl: "+byHand+"\n") {
		t.Errorf("got %+v", got)
	}
}

// Files that are empty, or none at all, get one clear line and the next step.
func TestUnusableFiles(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	const (
		empty = "2026-11-20T01-00-00Z"
		link  = "2026-11-21T01-00-00Z"
		fifo  = "2026-11-22T01-00-00Z"
	)
	m.Write("var/crash/"+empty+"/vmcore", "")
	m.Write("var/crash/"+empty+"/vmcore-dmesg.txt", "")
	m.Write("var/crash/"+link+"/vmcore-dmesg.txt", "[    1.000000] x\n")
	m.Write("var/crash/"+fifo+"/vmcore-dmesg.txt", "[    1.000000] x\n")
	if err := os.Symlink("/etc/passwd", filepath.Join(m.Root, "var/crash", link, "report.txt")); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mkfifo(filepath.Join(m.Root, "var/crash", fifo, "report.txt"), 0o600); err != nil {
		t.Fatal(err)
	}
	m.Write("none", "")
	m.Write("short", "KDUMP")
	m.Write("cut", kdump(false)[:300])
	m.Write("dir/vmcore", kdump(false))
	m.Write("dir2/x", "")
	const (
		give  = "kdumpctl: Give a vmcore of kdumpctl or makedumpfile, or a dump of virsh dump --memory-only.\n"
		takes = "kdumpctl: kdumpctl import takes kdump-compressed, flattened and ELF dumps, and archives of kdumpctl export.\n"
	)
	for args, want := range map[string]string{
		"report " + empty: "dump " + empty + ": neither a vmcore nor a log of the crash in it\nkdumpctl: kdumpctl info " + empty + " shows why.\n",
		"log " + empty:    "dump " + empty + ": the log in it is empty\nkdumpctl: kdumpctl info " + empty + " shows why.\n",
		"export -o ROOT/a " + link: "export " + link + ": report.txt: open ROOT/var/crash/" + link + "/report.txt: a symbolic link, not a file\n" +
			"kdumpctl: Remove it: a capture makes only files.\n",
		"export -o ROOT/b " + fifo: "export " + fifo + ": report.txt: open ROOT/var/crash/" + fifo + "/report.txt: not a regular file\n" +
			"kdumpctl: Remove it: a capture makes only files.\n",
		"report ROOT/none": "open dump ROOT/none: read dump header: the file is empty\n" + give,
		"log ROOT/short":   "open dump ROOT/short: read dump header: the file is too short for a dump\n" + give,
		"debug ROOT/cut":   "ROOT/cut: read dump header: the file ends inside the header: it was cut off\n" + give,
		"import ROOT/none": "ROOT/none: neither an exported archive nor a vmcore: read dump header: the file is empty\n" + takes,
		"import ROOT/dir":  "import ROOT/dir: a directory, not a file\nkdumpctl: Give the vmcore in it: kdumpctl import ROOT/dir/vmcore\n",
		"import ROOT/dir2": "import ROOT/dir2: a directory, not a file\nkdumpctl: Give a vmcore, or an archive of kdumpctl export.\n",
	} {
		if got := m.kdumpctl(args); got != (result{1, "", "kdumpctl: " + want}) {
			t.Errorf("%s:\n got %+v\nwant %s", args, got, want)
		}
	}
}
