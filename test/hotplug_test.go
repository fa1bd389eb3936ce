package test

import (
	"strconv"
	"strings"
	"testing"
	"time"

	"ukdump/test/debian"
)

// TestHotplug removes processors and brings them back under systemd and udev. A burst
// of events causes one load, none if the kernel updates the ELF header itself, and none
// if nothing is loaded. Then the machine shuts down in order, and the capture kernel
// stays loaded to the end.
func TestHotplug(t *testing.T) {
	if vmSet(t) != "matrix" {
		t.Skip("UKDUMP_VM=matrix only")
	}
	for _, tt := range []struct {
		suite   string
		flavour debian.Flavour
		updates bool // the kernel updates the header: Linux 6.6
	}{
		{"bookworm", debian.Cloud, false},
		{"trixie", debian.Cloud, true},
		{"sid", debian.Cloud, true},
	} {
		t.Run(tt.suite, func(t *testing.T) {
			root, payload := lab(t, tt.suite)
			m, err := debian.New(t.Context(), "hotplug-"+tt.suite, debian.Hardware{Root: root, Flavour: tt.flavour})
			if err != nil {
				t.Fatal(err)
			}
			// /boot becomes a mount of its own, which is unmounted at shutdown: the
			// capture kernel must stay loaded.
			payload = payload.With("ukdump-test/enable", "#!/bin/sh\nsystemctl --root=/ enable ukdump.service\n"+
				"echo '/boot /boot none bind 0 0' >>/etc/fstab\nexec /sbin/init\n")
			payload.Run = ". /ukdump-test/hotplug\n"
			vm, err := m.Boot(t.Context(), debian.Boot{
				Name:     "hotplug",
				Init:     "/ukdump-test/enable",
				Cmdline:  reservation + " panic=5 printk.devkmsg=on",
				Payload:  payload,
				CPUs:     4,
				Deadline: 15 * time.Minute,
			})
			if err != nil {
				t.Fatal(err)
			}
			if err := vm.Wait(); err != nil {
				t.Fatal(err)
			}
			// said returns the guest's line after label.
			said := func(label string) string {
				for _, line := range vm.Console() {
					if _, rest, ok := strings.Cut(line, "ukdump-test: "+label+" "); ok {
						return strings.TrimSpace(rest)
					}
				}
				t.Fatal(vm.Fail("it never said %q", label))
				return ""
			}
			if got, want := said("crash_hotplug") == "1", tt.updates; got != want {
				t.Errorf("crash_hotplug is %s", said("crash_hotplug"))
			}
			for label, most := range map[string]int{
				"reloads at boot": 0, "reloads after a burst": 2, "reloads after another": 2, "reloads when unloaded": 0,
			} {
				n, err := strconv.Atoi(said(label))
				least := min(most, 1) // a slow machine may pause in the middle of a burst
				if tt.updates {
					least, most = 0, 0
				}
				t.Logf("%s: %s", label, said(label))
				if err != nil || n < least || n > most {
					t.Errorf("%s: %s, want %d to %d", label, said(label), least, most)
				}
			}
			if n := said("loaded at shutdown"); n != "1" {
				t.Error("the capture kernel was unloaded at shutdown")
			}
			if t.Failed() {
				t.Fatal(vm.Fail("its disks and logs are kept in %s", m.Dir))
			}
			if err := m.Remove(); err != nil {
				t.Error(err)
			}
		})
	}
}
