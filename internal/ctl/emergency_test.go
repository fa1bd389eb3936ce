package ctl

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"ukdump/internal/builder/buildtest"
)

const (
	stockInitrd   = "boot/initrd.img-" + buildtest.Release
	emergencyLine = "loaded " + buildtest.Release + " with initrd.img-" + buildtest.Release + " in N s; dumps go to /var/crash\n"
)

// simpleKdump is a machine with the configuration of simple-kdump, as it is.
func simpleKdump(t *testing.T) (*machine, string) {
	m := newMachine(t)
	stock := m.Stock()
	m.Write("etc/conf.d/simple-kdump.conf", "KERNEL=/boot/vmlinuz-"+buildtest.Release+"\nINITRAMFS=/"+stockInitrd+"\n\nBOOT_OPTIONS=root=/dev/vda1 rw loglevel=5\n")
	m.Link("etc/ukdump.conf", "conf.d/simple-kdump.conf")
	return m, string(stock)
}

func TestEmergency(t *testing.T) {
	t.Parallel()
	m, stock := simpleKdump(t)
	m.expect("load", result{0, emergencyLine, ""})
	if !strings.HasSuffix(string(m.initrd), stock) || len(m.initrd) == len(stock) {
		t.Errorf("%d bytes were loaded", len(m.initrd))
	}
	if line := m.calls[0]; !strings.HasSuffix(line, " root=/dev/vda1 rw loglevel=5 ukdump.emergency rdinit=/ukdump-guard systemd.unit=ukdump-emergency.target") {
		t.Errorf("command line %q", line)
	}
	if got := m.kdumpctl("status"); !strings.Contains(got.stdout, "image           /"+stockInitrd+", ") || !strings.Contains(got.stdout, "missing         nothing\n") {
		t.Errorf("%+v", got)
	}
	// Nothing is built, so there is no image anywhere.
	m.expect("build", result{0, "nothing to build: MODE=emergency loads /" + stockInitrd + " as it is\n", ""})
	if _, err := os.Stat(filepath.Join(m.Root, image)); err == nil {
		t.Error("an image was built")
	}
	m.expect("load --image ROOT/"+stockInitrd, result{1, "", "kdumpctl: --image: MODE=emergency loads the distribution's own initramfs, see INITRAMFS= in ukdump.conf(5); still loaded: " +
		buildtest.Release + " with initrd.img-" + buildtest.Release + "\n"})

	// The distribution makes its initramfs anew.
	m.Write(stockInitrd, stock+"\x00\x00\x00\x00")
	if got := m.kdumpctl("status"); !strings.Contains(got.stdout, "missing         the loaded image is out of date") {
		t.Errorf("%+v", got)
	}
	m.expect("reload", result{0, emergencyLine, ""})
	if got := m.kdumpctl("status"); !strings.Contains(got.stdout, "missing         nothing\n") {
		t.Errorf("%+v", got)
	}
}

// The unpacked size counts, not the size of the file.
func TestEmergencyTooLarge(t *testing.T) {
	t.Parallel()
	m, _ := simpleKdump(t)
	m.Write("sys/kernel/kexec_crash_size", "50331648\n") // the need of the kernel alone
	got := m.kdumpctl("load")
	if got.status != 1 || !strings.Contains(got.stderr, "the reservation is too small") || len(m.calls) != 0 {
		t.Errorf("%+v, %d calls", got, len(m.calls))
	}
}

// A kernel that refuses the distribution's new initramfs keeps the fallback
// set, initramfs included.
func TestEmergencyLastGood(t *testing.T) {
	t.Parallel()
	m, stock := simpleKdump(t)
	m.expect("load", result{0, emergencyLine, ""})
	m.Write(stockInitrd, stock[:len(stock)/2])
	got := m.kdumpctl("reload")
	if got.status != 1 || !strings.Contains(got.stderr, "initramfs /"+stockInitrd+": ") || !strings.Contains(got.stderr, "; still loaded: ") {
		t.Errorf("damaged: %+v", got)
	}
	m.Write(stockInitrd, stock+"\x00\x00\x00\x00")
	m.err = unix.ENOEXEC
	m.asked = func() {
		if len(m.calls) > 2 {
			m.err = nil
		}
	}
	got = m.kdumpctl("reload")
	if got.status != 1 || !strings.Contains(got.stderr, "loaded instead: the fallback set") || !strings.HasSuffix(string(m.initrd), stock) {
		t.Errorf("refused: %+v", got)
	}
}
