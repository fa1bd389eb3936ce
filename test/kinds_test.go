package test

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"ukdump/internal/report"
	"ukdump/internal/vmtest"
	"ukdump/test/debian"
)

// kind is a kind of crash, which the report of its dump has to show.
type kind struct {
	name     string
	crash    string // the shell commands
	cause    string // part of the line of the cause, or of the panic without one
	function string // in a frame of the CPU that panicked; "" for any
	guess    bool   // the frame may be a guess, marked as one
	blocked  string // a task in state D
	waits    string // a function in its stack, "" for any
	suite    string // bookworm if empty
	flavour  debian.Flavour
	silent   *silentDisk // nil for none
}

const inModule = "insmod /ukdump-test/crash.ko; echo %s >/sys/module/ukdump_crash/parameters/how"

var kinds = []kind{
	{name: "sysrq", crash: "echo c >/proc/sysrq-trigger", cause: "sysrq triggered crash", function: "sysrq_handle_crash"},
	{name: "null", crash: fmt.Sprintf(inModule, "null"), cause: "NULL pointer dereference", function: "ukdump_crash_null"},
	{name: "irq", crash: fmt.Sprintf(inModule, "irq"), cause: "NULL pointer dereference", function: "call_timer_fn"},
	{name: "hung", crash: "echo 5 >/proc/sys/kernel/hung_task_timeout_secs; echo 1 >/proc/sys/kernel/hung_task_panic\n" + fmt.Sprintf(inModule, "hung"),
		cause: "blocked for more than", blocked: "ukdump-waiter"},
	{name: "soft", crash: "echo 3 >/proc/sys/kernel/watchdog_thresh; echo 1 >/proc/sys/kernel/softlockup_panic\n" + fmt.Sprintf(inModule, "soft"),
		cause: "soft lockup", function: "ukdump_crash_set"},
	{name: "memory", crash: "echo 2 >/proc/sys/vm/panic_on_oom; head -c 4G /dev/zero | tail", cause: "Out of memory", function: "out_of_memory"},
	{name: "stack", crash: fmt.Sprintf(inModule, "stack"), cause: "stack guard page", function: "ukdump_crash_deeper", guess: true}, // the stack pointer is outside of the stack

	// The kernel spares tasks in direct I/O from being called hung (blk_io_schedule), so
	// sysrq it is.
	{name: "silent-nvme", silent: &silentDisk{vmtest.NVMe, "nvme0n1"}, crash: silence, cause: "sysrq triggered crash",
		function: "sysrq_handle_crash", blocked: "dd", waits: "blkdev_write_iter"},
	{name: "silent-ahci", suite: "sid", flavour: debian.Generic, silent: &silentDisk{vmtest.AHCI, "sda"}, crash: silence,
		cause: "sysrq triggered crash", function: "sysrq_handle_crash", blocked: "dd", waits: "blkdev_write_iter"},
}

const crashKind = `. /ukdump-test/lib.sh
echo 1 >/proc/sys/kernel/panic_on_oops
kdumpctl load
say "crashing"
%s
sleep 100
`

const reportKind = `. /ukdump-test/lib.sh
n=0
for dump in /var/crash/20*; do
	n=$((n + 1))
	kdumpctl report --json "${dump##*/}" >/ukdump-test/out/$n.json || fail "report: status $?"
	kdumpctl report "${dump##*/}" >/ukdump-test/out/$n.txt || fail "report: status $?"
done
results ukdump-test/out
say "results written"
`

// testModule returns the module of test/crashmodule for the cloud kernel of bookworm, which
// the compiler of the host fits.
func testModule(t *testing.T) string {
	t.Helper()
	const suite = "bookworm"
	root, _ := lab(t, suite)
	repo, err := debian.Repository()
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(filepath.Join(repo, "scripts/testmodule"), root.Dir, suite).Output()
	if err != nil {
		var failed *exec.ExitError
		if errors.As(err, &failed) {
			t.Fatalf("%v: %s", err, failed.Stderr)
		}
		t.Fatal(err)
	}
	module, err := os.ReadFile(strings.TrimSpace(string(out)))
	if err != nil {
		t.Fatal(err)
	}
	return string(module)
}

// TestKinds crashes machines in several ways, each twice. The report of a dump has to show
// the function that did it, and fingerprints are the same for each kind and differ between
// the kinds.
func TestKinds(t *testing.T) {
	if vmSet(t) != "matrix" {
		t.Skip("UKDUMP_VM=matrix only")
	}
	prints := make(chan [2]string, len(kinds))
	t.Run("kind", func(t *testing.T) {
		for _, k := range kinds {
			t.Run(k.name, func(t *testing.T) {
				t.Parallel()
				id := k.run(t)
				if k.silent == nil { // the crash itself is that of sysrq
					prints <- [2]string{k.name, id}
				}
			})
		}
	})
	close(prints)
	seen := map[string]string{}
	for p := range prints {
		if other := seen[p[1]]; other != "" {
			t.Errorf("%s and %s have the same fingerprint %s", p[0], other, p[1])
		}
		seen[p[1]] = p[0]
	}
	fmt.Println("fingerprints:", slices.Sorted(maps.Keys(seen)))
}

// run crashes a machine twice and returns the fingerprint.
func (k kind) run(t *testing.T) string {
	root, payload := lab(t, cmp.Or(k.suite, "bookworm"))
	if strings.Contains(k.crash, "crash.ko") {
		payload = payload.With("ukdump-test/crash.ko", testModule(t))
	}
	h := debian.Hardware{Root: root, Flavour: cmp.Or(k.flavour, debian.Cloud)}
	if k.silent != nil {
		h.Disks = []debian.Disk{{Name: "target", Bus: k.silent.bus, NBD: true}}
	}
	m, err := debian.New(t.Context(), "kind-"+k.name, h)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close() })
	boot := func(name, script string, mark string) {
		t.Helper()
		payload.Run = script
		b := debian.Boot{Name: name, Init: debian.Quick, Payload: payload, Cmdline: reservation + " panic=5", Deadline: bootLimit, CPUs: 2}
		if k.silent != nil && mark == "crashing" {
			b.Line = k.silent.follow(t, m)
		}
		runMachine(t, m, b, mark)
	}
	boot("first", fmt.Sprintf(crashKind, k.crash), "crashing")
	boot("second", fmt.Sprintf(crashKind, k.crash), "crashing")
	boot("after", reportKind, "results written")
	dir, err := m.Results()
	if err != nil {
		t.Fatal(err)
	}
	reports, err := readReports(os.DirFS(filepath.Join(dir, "ukdump-test/out")))
	if err != nil || len(reports) != 2 {
		t.Fatalf("%d reports, not 2: %v\n--- its disks and logs are kept in %s", len(reports), err, m.Dir)
	}
	for _, r := range reports {
		if err := k.judge(r); err != nil {
			t.Fatalf("%v\n--- its disks and logs are kept in %s", err, m.Dir)
		}
	}
	if k.silent != nil {
		if err := k.silent.judge(filepath.Join(dir, "ukdump-test/out"), reports); err != nil {
			t.Fatalf("%v\n--- its disks and logs are kept in %s", err, m.Dir)
		}
	}
	id, again := reports[0].Fingerprint.ID, reports[1].Fingerprint.ID
	if id != again {
		t.Fatalf("the same crash has the fingerprints %s and %s\n--- its disks and logs are kept in %s", id, again, m.Dir)
	}
	if err := m.Remove(); err != nil {
		t.Error(err)
	}
	return id
}

func readReports(dir fs.FS) (reports []*report.Report, err error) {
	names, err := fs.Glob(dir, "*.json")
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		b, err := fs.ReadFile(dir, name)
		if err != nil {
			return nil, err
		}
		r := new(report.Report)
		if err := json.Unmarshal(b, r); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		reports = append(reports, r)
	}
	return reports, nil
}

// judge compares a report with the crash.
func (k kind) judge(r *report.Report) error {
	switch {
	case !strings.Contains(r.Crash.Cause+r.Crash.Panic, k.cause):
		return fmt.Errorf("cause %q, panic %q, not %q", r.Crash.Cause, r.Crash.Panic, k.cause)
	case r.Fingerprint == nil:
		return fmt.Errorf("no fingerprint: %+v", r.Problems)
	case len(r.CPUs) != 2 || !r.CPUs[0].Panicked || r.CPUs[0].Stack == nil:
		return fmt.Errorf("the first CPU is not the one that panicked: %+v", r.CPUs)
	}
	if k.function != "" && !slices.ContainsFunc(r.CPUs[0].Stack.Frames, func(f report.Frame) bool {
		name, _, _ := strings.Cut(f.Function, ".") // without the compiler's suffix
		return name == k.function && (f.Reliable || k.guess)
	}) {
		return fmt.Errorf("no frame of %s: %+v", k.function, r.CPUs[0].Stack)
	}
	if k.blocked == "" {
		return nil
	}
	if r.Tasks == nil {
		return fmt.Errorf("no tasks: %+v", r.Problems)
	}
	i := slices.IndexFunc(r.Tasks.Blocked, func(t report.Task) bool { return t.Comm == k.blocked })
	if i < 0 || r.Tasks.Blocked[i].Stack == nil || !r.Tasks.Blocked[i].Stack.Complete {
		return fmt.Errorf("no task %s with its stack: %+v", k.blocked, r.Tasks)
	}
	frames := r.Tasks.Blocked[i].Stack.Frames
	if k.waits != "" && !slices.ContainsFunc(frames, func(f report.Frame) bool { return f.Function == k.waits && f.Reliable }) {
		return fmt.Errorf("no frame of %s in the stack of %s: %+v", k.waits, k.blocked, frames)
	}
	return nil
}
