package test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"ukdump/internal/report"
	"ukdump/internal/vmtest"
	"ukdump/test/debian"
)

// silentDisk is a disk that stops answering before the crash.
type silentDisk struct {
	bus  vmtest.Bus
	name string // in the guest
}

const (
	diskWorks  = "ukdump-test: the disk has work"
	silentFor  = 5    // seconds of the guest, at least
	silentSize = 4096 // bytes of each write
)

// silence writes to the disk until no write has ended for silentFor seconds, then crashes.
// Columns 5 and 9 of stat are the writes that have ended and the requests in flight:
// Documentation/block/stat.rst.
var silence = fmt.Sprintf(`disk=$(new_disk target)
cut -d ' ' -f 1 /proc/uptime >>/ukdump-test/out/began
sync
(while :; do dd if=/dev/zero of=$disk bs=%d seek=1 count=1000 oflag=direct 2>/dev/null; done) &
ended=0 seconds=-1
say "the disk has work"
until [ $seconds -ge %d ]; do
	sleep 1
	set -- $(cat /sys/block/${disk#/dev/}/stat)
	[ $5 = $ended ] && [ $9 -gt 0 ] && seconds=$((seconds + 1)) || seconds=-1
	ended=$5
done
echo c >/proc/sysrq-trigger`, silentSize, silentFor)

// follow silences the disk when the guest writes to it, until the capture kernel starts:
// QEMU waits for the disk when devices are reset. The crashed kernel sees no answer any more.
func (d *silentDisk) follow(t *testing.T, m *debian.Machine) func(string) {
	silent := false
	return func(line string) {
		var err error
		switch {
		case strings.Contains(line, diskWorks):
			silent, err = true, m.NBD("target").Freeze()
		case silent && strings.Contains(line, "[    0."): // seconds of the capture kernel
			silent, err = false, m.NBD("target").Heal()
		}
		if err != nil {
			t.Error(err)
		}
	}
}

// judge compares the disks of the reports with what the guest did to them. began has the
// uptime at which each boot began to write.
func (d *silentDisk) judge(out string, reports []*report.Report) error {
	b, err := os.ReadFile(filepath.Join(out, "began"))
	if err != nil {
		return err
	}
	began := strings.Fields(string(b))
	if len(began) != len(reports) {
		return fmt.Errorf("%d reports of %d crashes", len(reports), len(began))
	}
	for i, r := range reports {
		at, err := strconv.ParseFloat(began[i], 64)
		if err != nil {
			return err
		}
		if r.Crash.UptimeSeconds == nil {
			return fmt.Errorf("no uptime: %+v", r.Problems)
		}
		if err := d.judgeDisks(r.Disks, *r.Crash.UptimeSeconds-at); err != nil {
			return fmt.Errorf("%w; problems: %+v", err, r.Problems)
		}
	}
	return nil
}

// judgeDisks wants a write in flight on the disk, and on no other disk one that is as old.
// written is for how many seconds the guest had written.
func (d *silentDisk) judgeDisks(disks []report.Disk, written float64) error {
	const clocks = 2 // seconds between /proc/uptime and the log
	i := slices.IndexFunc(disks, func(x report.Disk) bool { return x.Name == d.name })
	if i < 0 {
		return fmt.Errorf("no disk %s: %+v", d.name, disks)
	}
	if len(disks[i].Requests) == 0 {
		return fmt.Errorf("no request in flight on %s: %+v", d.name, disks[i])
	}
	q := disks[i].Requests[0]
	if q.Op != "write" || q.Bytes != silentSize || q.Sector == nil || *q.Sector%(silentSize/512) != 0 || q.AgeSeconds == nil {
		return fmt.Errorf("not a write of %d bytes: %+v", silentSize, q)
	}
	if age := *q.AgeSeconds; age < silentFor || age > written+clocks {
		return fmt.Errorf("the request on %s is %.3f s old, not between %d and %.3f", d.name, age, silentFor, written)
	}
	for _, x := range slices.Delete(slices.Clone(disks), i, i+1) {
		if len(x.Requests) > 0 && x.Requests[0].AgeSeconds != nil && *x.Requests[0].AgeSeconds >= silentFor {
			return fmt.Errorf("%s has an old request, too: %+v", x.Name, x)
		}
	}
	return nil
}
