package load

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"ukdump/internal/builder/buildtest"
	"ukdump/internal/kexec"
	"ukdump/internal/state"
)

// Traces of a load by another program where the kernel does not show the memory, and
// events that are none.
func TestReplaced(t *testing.T) {
	const (
		cpu   = "sys/devices/system/cpu/crash_hotplug"
		limit = "proc/sys/kernel/kexec_load_limit_panic"
		unit  = "etc/systemd/system/multi-user.target.wants/kdump.service"
	)
	began := time.Now().Add(-time.Hour)
	m := buildtest.New(t)
	m.Write("run/systemd/system/x", "")
	m.Write("usr/lib/systemd/system/kdump.service", "")
	for _, tt := range []struct {
		name  string
		rec   state.LoadRecord
		files map[string]string
		want  string
	}{
		{"nothing is known", state.LoadRecord{}, nil, ""},
		{"the kernel updates the header", state.LoadRecord{Updates: true}, map[string]string{cpu: "1\n"}, ""},
		{"the kernel does so no more", state.LoadRecord{Updates: true}, map[string]string{cpu: "0\n"}, "(crash_hotplug)"},
		{"it never did", state.LoadRecord{}, map[string]string{cpu: "0\n"}, ""},
		{"loads are not limited", state.LoadRecord{}, map[string]string{limit: "-1\n"}, ""},
		{"no load since", state.LoadRecord{LoadsLeft: 3}, map[string]string{limit: "3\n"}, ""},
		{"one load since", state.LoadRecord{LoadsLeft: 3}, map[string]string{limit: "2\n"}, "kexec_load_limit_panic has decreased"},
		{"the limit was removed", state.LoadRecord{LoadsLeft: 3}, map[string]string{limit: "-1\n"}, ""},
		{"memory that cannot be read", state.LoadRecord{Pieces: []state.Piece{{Part: kexec.ImagePart, Address: 4096, Bytes: 1, SHA256: "x"}}}, nil, ""},
		{"another tool, not started", state.LoadRecord{}, map[string]string{unit: ""}, ""},
		{"another tool, started before", state.LoadRecord{Time: time.Now().Add(time.Hour)}, map[string]string{unit: "", "run/systemd/units/invocation:kdump.service": ""}, ""},
		{"another tool, started since", state.LoadRecord{Time: began}, map[string]string{unit: "", "run/systemd/units/invocation:kdump.service": ""}, "kdump.service was started at 20"},
		{"another unit, started since", state.LoadRecord{Time: began}, map[string]string{unit: "", "run/systemd/units/invocation:cron.service": ""}, ""},
	} {
		m.Run(t, tt.name, func(t *testing.T) {
			for name, text := range tt.files {
				m.Write(name, text)
			}
			ld := &Loader{Root: m.Root, Store: state.Store{Root: m.Root}, Slot: kexec.New(m.Root)}
			proved, err := ld.Replaced(&tt.rec)
			got := ""
			if err != nil {
				got = err.Error()
			}
			if proved || (got == "") != (tt.want == "") || !strings.Contains(got, tt.want) {
				t.Errorf("proved %v, %s, want %q", proved, got, tt.want)
			}
		})
	}
}

func TestHolds(t *testing.T) {
	big := bytes.Repeat([]byte("kernel"), 100<<10)
	other := bytes.Clone(big)
	other[len(other)-1]++
	for _, tt := range []struct {
		file, data []byte
		want       bool
	}{
		{nil, nil, true},
		{big, big, true},
		{big[:256<<10], big[:256<<10], true},
		{other, big, false},
		{big[:len(big)-1], big, false},
		{append(bytes.Clone(big), 0), big, false},
		{nil, big, false},
		{big, nil, false},
	} {
		if got := holds(bytes.NewReader(tt.file), tt.data); got != tt.want {
			t.Errorf("a file of %d bytes holds %d: %v", len(tt.file), len(tt.data), got)
		}
	}
	if holds(iotest.ErrReader(errors.New("EIO")), nil) {
		t.Error("a file that cannot be read has the content")
	}
}
