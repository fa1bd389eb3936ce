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
