package test

import (
	"crypto/rand"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"ukdump/internal/crashdir"
	"ukdump/test/debian"
)

// shrinkScript is a boot that gives memory back and crashes with the rest.
const shrinkScript = `. /ukdump-test/lib.sh
out=/ukdump-test/out
mkdir -p $out
kdumpctl load || fail 'load'
kdumpctl estimate >$out/estimate.txt || fail 'estimate'
cat $out/estimate.txt
cat /sys/kernel/kexec_crash_size >$out/before.txt
kdumpctl shrink || fail 'shrink'
cat /sys/kernel/kexec_crash_size >$out/after.txt
[ "$(cat /sys/kernel/kexec_crash_loaded)" = 1 ] || fail 'nothing is loaded'
kdumpctl shrink || fail 'shrink again'
kdumpctl status || [ $? = 4 ] || fail 'status'
cp -r $out /var/crash/out
sync
say "$mark"
echo c >/proc/sysrq-trigger
`

// TestShrink gives memory back after a capture has shown its need: the next crash is
// captured with the rest.
func TestShrink(t *testing.T) {
	if set := vmSet(t); set != "matrix" {
		t.Skip("UKDUMP_VM=matrix only")
	}
	chosen.Add(1)
	t.Parallel()
	root, payload := lab(t, "bookworm")
	m, err := debian.New(t.Context(), "shrink", debian.Hardware{Root: root, Flavour: debian.Generic})
	if err != nil {
		t.Fatal(err)
	}
	mark := "mark-" + rand.Text()
	boot := func(name, script, marked string) {
		t.Helper()
		payload.Run = script
		runMachine(t, m, debian.Boot{Name: name, Init: debian.Quick, Payload: payload, Deadline: bootLimit,
			Cmdline: "crashkernel=256M panic=5 printk.devkmsg=on"}, marked)
	}
	boot("first", ". /ukdump-test/lib.sh\nkdumpctl load || fail load\nsync\nsay first\necho c >/proc/sysrq-trigger\n", "first")
	boot("second", "mark="+mark+"\n"+shrinkScript, mark)
	boot("after", ". /ukdump-test/lib.sh\nresults var/crash\nsay 'results written'\n", "results written")
	dir, err := m.Results()
	if err != nil {
		t.Fatal(err)
	}
	dir = filepath.Join(dir, "var/crash")
	size := func(name string) int {
		b, err := os.ReadFile(filepath.Join(dir, "out", name))
		n, nerr := strconv.Atoi(strings.TrimSpace(string(b)))
		if err != nil || nerr != nil {
			t.Fatalf("%s: %q, %v, %v", name, b, err, nerr)
		}
		return n
	}
	before, after := size("before.txt"), size("after.txt")
	if before != 256<<20 || after >= before {
		t.Errorf("%d bytes were reserved, and %d are", before, after)
	}
	dumps, err := crashdir.List(dir)
	if err != nil || len(dumps) != 2 || dumps[1].Outcome != crashdir.Complete {
		t.Fatal(fmt.Errorf("%d dumps, the second must be complete (%v)", len(dumps), err))
	}
	if err := checkLog(filepath.Join(dumps[1].Path, crashdir.Dmesg), mark); err != nil {
		t.Error(err)
	}
	t.Logf("%d MiB of %d given back", (before-after)>>20, before>>20)
	if err := m.Remove(); err != nil {
		t.Error(err)
	}
}
