package ctl

import (
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// crashes makes complete dumps of the first hours of a day, and returns them.
func (m *machine) crashes(dir string, n int) (paths []string) {
	m.t.Helper()
	for hour := range n {
		path := dir + "/2026-11-20T0" + string(rune('0'+hour)) + "-00-00Z"
		m.Write(path+"/vmcore", kdump(false))
		paths = append(paths, path)
	}
	return paths
}

func (m *machine) left(dir string) string {
	m.t.Helper()
	ents, err := os.ReadDir(m.Root + "/" + dir)
	if err != nil {
		m.t.Fatal(err)
	}
	var names []string
	for _, e := range ents {
		names = append(names, strings.TrimSuffix(strings.TrimPrefix(e.Name(), "2026-11-20T0"), "-00-00Z"))
	}
	return strings.Join(names, " ")
}

func TestPrune(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	m.expect("prune", result{0, "nothing to remove\n", ""})
	m.AddDisk()
	m.crashes("srv/dumps", 2)
	m.crashes("var/crash", 4)
	m.Write("var/crash/other/vmcore", "x")
	m.Write(conf, "KEEP=2\nTARGET=/srv/dumps /var/crash\n")
	m.expect("prune --dry-run", result{0, "would remove ROOT/var/crash/2026-11-20T00-00-00Z...\nwould remove ROOT/var/crash/2026-11-20T01-00-00Z...\n", ""})
	if got := m.left("var/crash"); got != "0 1 2 3 other" {
		t.Errorf("left after a dry run: %s", got)
	}
	m.expect("prune", result{0, "removed ROOT/var/crash/2026-11-20T00-00-00Z...\nremoved ROOT/var/crash/2026-11-20T01-00-00Z...\n", ""})
	if a, b := m.left("srv/dumps"), m.left("var/crash"); a != "0 1" || b != "2 3 other" {
		t.Errorf("left: %s, %s", a, b)
	}
	m.expect("prune", result{0, "nothing to remove\n", ""})
	// Whatever the limits, the last one stays.
	m.Write(conf, "KEEP=1\nMAX_USE=1M\nKEEP_FREE=1000P\nTARGET=/srv/dumps /var/crash\n")
	m.kdumpctl("prune")
	if a, b := m.left("srv/dumps"), m.left("var/crash"); a != "1" || b != "3 other" {
		t.Errorf("left: %s, %s", a, b)
	}
}

// A dump that cannot be removed is named and stays whole, and the others go.
func TestPruneStuck(t *testing.T) {
	m := newMachine(t)
	m.crashes("var/crash", 6)
	m.Write(conf, "KEEP=3\n")
	log := m.Root + "/var/crash/2026-11-20T01-00-00Z/vmcore-dmesg.txt"
	m.Write("var/crash/2026-11-20T01-00-00Z/vmcore-dmesg.txt", "log")
	f, err := os.Open(log)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	flags := func(flags int) error { return unix.IoctlSetPointerInt(int(f.Fd()), unix.FS_IOC_SETFLAGS, flags) }
	if err := flags(0x10); err != nil { // FS_IMMUTABLE_FL of linux/fs.h
		t.Skip(err)
	}
	t.Cleanup(func() { flags(0) })
	const stuck = "make room in ROOT/var/crash: remove ROOT/var/crash/2026-11-20T01-00-00Z/vmcore-dmesg.txt: chattr(1) made it immutable or append-only\n"
	m.expect("prune --dry-run", result{1, "would remove ROOT/var/crash/2026-11-20T00-00-00Z...\nwould remove ROOT/var/crash/2026-11-20T02-00-00Z...\nwould remove ROOT/var/crash/2026-11-20T03-00-00Z...\n", "kdumpctl: " + stuck})
	m.expect("load", result{0, builtLine + "\n" + loadedLine + "removed ROOT/var/crash/2026-11-20T00-00-00Z...\nremoved ROOT/var/crash/2026-11-20T02-00-00Z...\nremoved ROOT/var/crash/2026-11-20T03-00-00Z...\n", "kdumpctl: warning: " + stuck})
	if got := m.left("var/crash"); got != "1 4 5" {
		t.Errorf("left: %s", got)
	}
	if m.Read("var/crash/2026-11-20T01-00-00Z/vmcore") == "" {
		t.Error("the dump that stays has lost its vmcore")
	}
	m.Write("var/crash/2026-11-20T06-00-00Z/vmcore", kdump(false))
	m.expect("prune", result{1, "removed ROOT/var/crash/2026-11-20T04-00-00Z...\n", "kdumpctl: " + stuck})
	if err := flags(0); err != nil {
		t.Fatal(err)
	}
	m.Write(conf, "KEEP=2\n")
	m.expect("prune", result{0, "removed ROOT/var/crash/2026-11-20T01-00-00Z...\n", ""})
}

// load makes room when it has loaded, and not before.
func TestLoadPrunes(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	m.crashes("var/crash", 3)
	m.Write(conf, "KEEP=1\n")
	m.asked = func() {
		if got := m.left("var/crash"); got != "0 1 2" {
			t.Errorf("left when the kernel is asked: %s", got)
		}
	}
	m.err = unix.ENOEXEC
	if got := m.kdumpctl("load"); got.status != 1 || m.left("var/crash") != "0 1 2" {
		t.Errorf("got %+v, left: %s", got, m.left("var/crash"))
	}
	m.err = nil
	m.expect("load", result{0, loadedLine + "removed ...\nremoved ...\n", ""})
	if got := m.left("var/crash"); got != "2" {
		t.Errorf("left: %s", got)
	}
}
