package test

import (
	"testing"

	"ukdump/internal/vmtest"
	"ukdump/test/debian"
)

// quickRetry shortens the periods of ukdump-retry.timer. An empty value resets all of them
// (systemd.timer(5)).
const quickRetry = `[Timer]
OnActiveSec=
OnActiveSec=5s
OnUnitInactiveSec=10s
AccuracySec=1s
`

// retryScript is for a machine without its network until the host reads "the server is cut
// off". $mark is printed just before the crash.
const retryScript = `. /ukdump-test/lib.sh
timer=ukdump-retry.timer retry=ukdump-retry.service
[ "$(systemctl is-active ukdump.service)" = active ] || fail "ukdump.service: $(systemctl status ukdump.service)"
[ "$(systemctl is-active $timer)" = active ] || fail "$timer: $(systemctl status $timer)"
status=0
kdumpctl status || status=$?
[ $status = 4 ] || fail "status: status $status"
kdumpctl status | grep -q 'target .* is omitted' || fail 'status names no omitted target'
! kdumpctl verify >/run/verify || fail 'verify is content'
grep 'PROBLEM.*is omitted' /run/verify || fail "verify: $(cat /run/verify)"

# wait_for COMMAND...: until it succeeds.
wait_for() {
	seconds=0
	until "$@"; do
		seconds=$((seconds + 1))
		[ $seconds -lt 300 ] || fail "not in 300 s: $*: $(journalctl -b -q -o cat -u $retry -u $timer)"
		sleep 1
	done
}
has_run() { [ "$(systemctl show --value -p ExecMainExitTimestampMonotonic $retry)" != 0 ]; }
wait_for has_run
[ "$(systemctl is-active $timer)" = active ] || fail "$timer has ended, and the server is away"
[ "$(systemctl show --value -p Result $retry)" = success ] || fail "$retry: $(journalctl -b -q -o cat -u $retry)"

say "the server is cut off"
ended() { ! systemctl -q is-active $timer; }
wait_for ended
kdumpctl verify || fail 'verify'
kdumpctl status >/run/status || [ $? = 4 ] || fail 'status'
cat /run/status
! grep -q 'omitted' /run/status || fail 'status names an omitted target'
say "$mark"
sync
echo c >/proc/sysrq-trigger
sleep 600
`

// TestRetry boots a machine with systemd without the network to its server. The load omits
// the server, ukdump-retry.timer loads it when the network is back, and the dump of the
// crash gets there.
func TestRetry(t *testing.T) {
	if vmSet(t) != "matrix" {
		t.Skip("UKDUMP_VM=matrix only")
	}
	const mark = "mark-retry"
	root, payload := lab(t, "bookworm")
	s := servers["sftp"](t, hostIPv4)
	s.conf += readable
	payload = withServer(payload, s).
		With("ukdump-test/cell", layouts["root"].script(mark)).
		With("etc/systemd/system/ukdump-retry.timer.d/quick.conf", quickRetry)
	m, err := debian.New(t.Context(), "retry", debian.Hardware{Root: root, Flavour: debian.Cloud, NICs: []vmtest.NIC{dhcpCard}})
	if err != nil {
		t.Fatal(err)
	}
	b := debian.Boot{Name: "prepare", Init: debian.Quick, Payload: payload, Cmdline: reservation + " panic=5", Deadline: bootLimit}
	b.Payload.Run = "fstab=\n" + prepareTrial
	runMachine(t, m, b, "")

	b.Name, b.Init, b.Payload.Run = "cut", "", "mark="+mark+"\n"+retryScript
	b.Cmdline += " printk.devkmsg=on"
	vm, err := m.Boot(t.Context(), b)
	if err != nil {
		t.Fatal(err)
	}
	defer vm.Kill()
	for _, step := range []struct{ line, command string }{
		{"", "set_link net0 off"},
		{"ukdump-test: the server is cut off", "set_link net0 on"},
	} {
		if step.line != "" {
			err = vm.Expect(step.line, bootLimit)
		}
		if err == nil {
			_, err = vm.Monitor(step.command)
		}
		if err != nil {
			t.Fatalf("%v\n--- its disks and logs are kept in %s", err, m.Dir)
		}
	}
	if err := vm.Wait(); err != nil {
		t.Fatal(err)
	}
	if err := checkCrashed(vm, mark); err != nil {
		t.Fatal(err)
	}
	if err := checkServed(s.dir, mark, m.Dir, false); err != nil {
		t.Fatal(vm.Fail("%v\n--- its disks and logs are kept in %s", err, m.Dir))
	}
	if err := m.Remove(); err != nil {
		t.Error(err)
	}
}
