package ctl

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"ukdump/internal/crashdir"
)

// What a capture left corrects the estimate of the next load, in both directions.
func TestMemoryLearned(t *testing.T) {
	t.Parallel()
	const mib = 1 << 20
	starved := func(r *crashdir.Report) { r.Outcome, r.OOMKills = crashdir.DmesgOnly, 1 }
	m := newMachine(t)
	for _, tt := range []struct {
		name     string
		reserved int64 // MiB, at the crash
		lowest   int64 // MiB that the capture left
		change   func(r *crashdir.Report)
		then     int64 // MiB reserved at the next load
		warns    bool
	}{
		{"nothing was captured", 52, 0, nil, 52, true},
		{"captured with less than the estimate", 52, 5, nil, 52, false},
		{"by another kernel", 52, 5, func(r *crashdir.Report) { r.Capture = "6.12.0" }, 52, true},
		{"on another machine", 52, 5, func(r *crashdir.Report) { r.Machine = "ffffffffffffffffffffffffffffffff" }, 52, true},
		{"before the load", 52, 5, func(r *crashdir.Report) { r.CrashTime = time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC) }, 52, true},
		{"a driver took 150 MiB", 256, 60, nil, 128, true},
		{"a capture ran out of memory", 256, 5, starved, 256, true},
		{"a capture ran out of less memory", 256, 5, starved, 320, false},
	} {
		m.run(t, tt.name, func(t *testing.T) {
			m.Write("var/lib/ukdump/measured.json", "{}")
			m.Write("sys/kernel/kexec_crash_size", fmt.Sprint(tt.reserved*mib))
			m.load()
			m.boot(2)
			machine := strings.TrimSpace(m.Read("etc/machine-id"))
			if tt.lowest > 0 {
				r := captureReport(func(r *crashdir.Report) {
					r.ID, r.Machine, r.LowestMem, r.CrashTime = "crash", machine, tt.lowest*mib, time.Now()
					if tt.change != nil {
						tt.change(r)
					}
				})
				files := map[string]string{"report.json": r, "vmcore-dmesg.txt": "log", "vmcore": kdump(false)}
				if strings.Contains(r, `"dmesg-only"`) {
					delete(files, "vmcore")
				}
				for name, text := range files {
					m.Write("var/crash/2026-11-25T01-00-00Z/"+name, text)
				}
			}
			m.Write("sys/kernel/kexec_crash_size", fmt.Sprint(tt.then*mib))
			for range 2 { // it stays known
				res := m.kdumpctl("load")
				if got := strings.Contains(res.stderr, "too small to capture"); got != tt.warns || res.status != 0 {
					t.Errorf("warns %v, want %v: %+v\n%s", got, tt.warns, res, m.Read("var/lib/ukdump/loaded.json"))
				}
			}
		})
	}
}
