package test

import (
	"crypto/rand"
	"fmt"
	"path/filepath"
	"testing"

	"filippo.io/age"

	"ukdump/internal/crashdir"
	"ukdump/test/debian"
)

// TestEncrypted crashes machines with encrypted dumps on their own disks, in a directory and
// on a raw device.
func TestEncrypted(t *testing.T) {
	set := vmSet(t)
	if set == "faults" {
		t.Skip("UKDUMP_VM=faults is for TestFaults")
	}
	for _, c := range []struct {
		name, suite, target, make string
		ci                        bool
	}{
		{name: "directory", suite: "bookworm", target: "/var/crash", make: ":", ci: true},
		{name: "raw", suite: "trixie", target: "raw:swap", make: "swap=$(new_disk target) && mkswap -q $swap && echo \"$swap none swap sw 0 0\" >>/etc/fstab"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if set == "ci" && !c.ci {
				t.Skip("UKDUMP_VM=matrix only")
			}
			chosen.Add(1)
			t.Parallel()
			root, payload := lab(t, c.suite)
			m, err := debian.New(t.Context(), "encrypted-"+c.name, debian.Hardware{Root: root, Flavour: debian.Generic, Disks: []debian.Disk{{Name: "target"}}})
			if err != nil {
				t.Fatal(err)
			}
			identity, err := age.GenerateX25519Identity()
			if err != nil {
				t.Fatal(err)
			}
			mark := "mark-" + rand.Text()
			payload = payload.With("etc/ukdump.conf", fmt.Sprintf("TARGET=%s\nENCRYPT=%s\n%s", c.target, identity.Recipient(), readable)).
				With("ukdump-test/cell", fmt.Sprintf("mark=%s\nprepare() { %s; }\n", mark, c.make))
			payload.Run = ". /ukdump-test/encrypted\n"
			vm, err := m.Boot(t.Context(), debian.Boot{Name: "crash", Init: debian.Quick, Payload: payload, Deadline: bootLimit,
				Cmdline: reservation + " panic=5 printk.devkmsg=on"})
			if err == nil {
				err = vm.Wait()
			}
			if err != nil {
				t.Fatal(err)
			}
			if err := checkCrashed(vm, mark); err != nil {
				t.Fatal(err)
			}
			payload.Run = ". /ukdump-test/encrypted-after\n"
			runMachine(t, m, debian.Boot{Name: "after", Init: debian.Quick, Payload: payload, Deadline: bootLimit, Cmdline: "panic=5"}, "results written")
			result, err := m.Results()
			if err != nil {
				t.Fatal(err)
			}
			// Below the directory that it would have at a server.
			dir := filepath.Join(result, "var")
			if err := decryptServed(dir, identity, true, mark); err != nil {
				t.Fatal(vm.Fail("%v", err))
			}
			if err := checkServed(dir, mark, m.Dir, c.name == "raw"); err != nil {
				t.Fatal(vm.Fail("%v", err))
			}
			dumps, err := crashdir.List(filepath.Join(dir, "crash"))
			if err != nil || len(dumps) != 1 {
				t.Errorf("%d dumps, %v", len(dumps), err)
			}
			if err := m.Remove(); err != nil {
				t.Error(err)
			}
		})
	}
}
