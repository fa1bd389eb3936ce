package test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"ukdump/internal/vmtest"
	"ukdump/test/debian"
)

// MESSAGE_IDs as kdumpctl(8) promises them.
const (
	crashID = "cb264f724de64c638c74f4da74078db0"
	lostID  = "88d3927a1a8f4bbaba587891dfbdda2b"
)

// look is the machine's script after each boot: it copies its announcements to
// the host and ends with $end.
const look = `. /ukdump-test/lib.sh
out=/ukdump-test/out
systemctl is-active ukdump.service ukdump-announce.service >$out/units.txt || true
journalctl --sync || true
journalctl -b -q -o json MESSAGE_ID=` + crashID + ` + MESSAGE_ID=` + lostID + ` >$out/journal.json || true
journalctl -b -q -u ukdump-announce.service >$out/unit.txt || true
results ukdump-test/out
say "results written"
$end
`

// later runs when the boot is complete, for which the units for reports and hooks wait.
const later = `. /ukdump-test/lib.sh
out=/ukdump-test/out
for n in $(seq 120); do
	cp /var/crash/20*/report.txt $out/report.txt 2>/dev/null && [ -s /var/lib/hook.json ] && break
	sleep 1
done
cp /var/lib/hook.json $out/ || true
systemctl start ukdump-metrics.service
cp /var/lib/prometheus/node-exporter/ukdump.prom $out/ || true
journalctl --sync
journalctl -b -q -o short -u ukdump-report.service -u ukdump-hook.service -u ukdump-metrics.service >$out/later.txt || true
results ukdump-test/out
say "the reports are there"
echo b >/proc/sysrq-trigger
`

// afterCrash ends the service of the test, so that the boot goes on, and starts later.
const afterCrash = "mkdir -p /var/lib/prometheus/node-exporter; systemd-run -q --no-block sh /ukdump-test/later; kill -9 $PPID; sleep 600"

// TestAnnounce crashes a machine with systemd and reads the announcements in its
// journal: the crash once, later a loss of power, and nothing after a shutdown. After the
// crash the units have to make the report, the metrics, and run the hook.
func TestAnnounce(t *testing.T) {
	if vmSet(t) != "matrix" {
		t.Skip("one of the matrix")
	}
	root, payload := lab(t, "bookworm")
	m, err := debian.New(t.Context(), "announce", debian.Hardware{Root: root, Flavour: debian.Cloud})
	if err != nil {
		t.Fatal(err)
	}
	boot := func(name, init string) *vmtest.VM {
		t.Helper()
		vm, err := m.Boot(t.Context(), debian.Boot{
			Name: name, Init: init, Payload: payload,
			Cmdline: reservation + " panic=5 printk.devkmsg=on",
		})
		if err == nil {
			err = vm.Wait()
		}
		if err != nil {
			t.Fatalf("%v\n--- its disks and logs are kept in %s", err, m.Dir)
		}
		return vm
	}
	payload = payload.With("ukdump-test/cell", layouts["root"].script("mark-announce")).
		With("ukdump-test/enable", "#!/bin/sh\nsystemctl --root=/ enable ukdump.service ukdump-announce.service\nexec /sbin/init\n")
	payload = payload.With("ukdump-test/later", later).
		With("etc/ukdump.conf.d/hook.conf", "HOOK=/usr/sbin/hook\n").
		With("usr/sbin/hook", "#!/bin/sh\ncat >/var/lib/hook.new && mv /var/lib/hook.new /var/lib/hook.json\necho the hook has run\n")
	payload.Run = "load='systemctl is-active ukdump.service'\n. /ukdump-test/crash\n"
	boot("crash", "/ukdump-test/enable")

	for _, b := range []struct {
		name, end string
		want      []string // MESSAGE_ID, outcome and a part of the message
	}{
		{"after the crash", afterCrash, []string{crashID + " complete sysrq triggered crash"}},
		{"after the reset", "systemctl --no-block reboot; sleep 600", []string{lostID + " none without a shutdown"}},
		{"after the shutdown", "", nil},
	} {
		payload.Run = "end='" + b.end + "'\n" + strings.Replace(look, "$end", `eval "$end"`, 1)
		vm := boot(strings.ReplaceAll(b.name, " ", "-"), "")
		if err := vm.Expect("ukdump-test: results written", 0); err != nil {
			t.Fatal(err)
		}
		dir, err := m.Results()
		if err != nil {
			t.Fatal(err)
		}
		if err := checkJournal(filepath.Join(dir, "ukdump-test/out"), b.want); err != nil {
			t.Fatal(vm.Fail("%s: %v\n--- its disks and logs are kept in %s", b.name, err, m.Dir))
		}
		if b.end != afterCrash {
			continue
		}
		if err := checkLater(filepath.Join(dir, "ukdump-test/out")); err != nil {
			t.Fatal(vm.Fail("%v\n--- its disks and logs are kept in %s", err, m.Dir))
		}
	}
	if err := m.Remove(); err != nil {
		t.Error(err)
	}
}

// checkJournal compares the entries of a machine's journal.
func checkJournal(out string, want []string) error {
	unit, _ := os.ReadFile(filepath.Join(out, "unit.txt"))
	units, err := os.ReadFile(filepath.Join(out, "units.txt"))
	if err != nil {
		return err
	}
	if string(units) != "active\nactive\n" {
		return fmt.Errorf("units are %q\n%s", units, unit)
	}
	text, err := os.ReadFile(filepath.Join(out, "journal.json"))
	if err != nil {
		return err
	}
	var lines []string // one entry each
	for l := range strings.Lines(string(text)) {
		lines = append(lines, l)
	}
	if len(lines) != len(want) {
		return fmt.Errorf("%d entries, not %d:\n%s\n%s", len(lines), len(want), text, unit)
	}
	for i, l := range lines {
		var e struct {
			ID       string `json:"MESSAGE_ID"`
			Outcome  string `json:"UKDUMP_OUTCOME"`
			Message  string `json:"MESSAGE"`
			Priority string `json:"PRIORITY"`
			Who      string `json:"SYSLOG_IDENTIFIER"`
		}
		if err := json.Unmarshal([]byte(l), &e); err != nil {
			return err
		}
		f := strings.SplitN(want[i], " ", 3)
		if e.ID != f[0] || e.Outcome != f[1] || !strings.Contains(e.Message, f[2]) || e.Priority != "2" || e.Who != "kdumpctl" {
			return fmt.Errorf("entry %+v, want %s", e, want[i])
		}
	}
	return nil
}

// checkLater looks into the files of later.
func checkLater(out string) error {
	units, err := os.ReadFile(filepath.Join(out, "later.txt"))
	if err != nil {
		return err
	}
	for name, part := range map[string]string{
		"report.txt": "sysrq_handle_crash+", "hook.json": `sysrq triggered crash`, "ukdump.prom": "\nukdump_loaded 1\n", "later.txt": "the hook has run",
	} {
		b, err := os.ReadFile(filepath.Join(out, name))
		if err != nil || !strings.Contains(string(b), part) {
			return fmt.Errorf("%s is without %q: %v\n%s\n%s", name, part, err, b, units)
		}
	}
	return nil
}
