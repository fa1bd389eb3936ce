package ctl

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/sys/unix"

	"ukdump/internal/builder/buildtest"
	"ukdump/internal/crashdir"
	"ukdump/internal/debug/debugtest"
	"ukdump/internal/state"
)

// The scripts in testdata/script are the manual of behaviour: command, files, output
// and status. Each has a machine of its own, whose files are below $ROOT; the output
// has ROOT in place of that. -update renews the expected output.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:           "testdata/script",
		UpdateScripts: buildtest.Update(),
		Setup: func(env *testscript.Env) error {
			m := newMachine(t) // it lives as long as all scripts
			env.Values["machine"] = &scripted{machine: m}
			env.Setenv("ROOT", m.Root)
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"kdumpctl": kdumpctlCmd,
			"status":   statusCmd,
			"machine":  machineCmd,
			"columns":  columnsCmd,
			"kernel":   kernelCmd,
			"systemd":  systemdCmd,
			"dump":     dumpCmd,
			"journal":  journalCmd,
		},
	})
}

// scripted is the machine of a script.
type scripted struct {
	*machine
	last    int // exit status
	journal *journald
}

func scriptMachine(ts *testscript.TestScript) *scripted { return ts.Value("machine").(*scripted) }

// columns N sets the width of the terminal.
func columnsCmd(ts *testscript.TestScript, neg bool, args []string) {
	n, err := strconv.Atoi(strings.Join(args, " "))
	ts.Check(err)
	scriptMachine(ts).columns = n
}

// kdumpctl ARG... runs the program; it must fail after "!".
func kdumpctlCmd(ts *testscript.TestScript, neg bool, args []string) {
	m := scriptMachine(ts)
	r := m.kdumpctl(strings.Join(args, " "))
	io.WriteString(ts.Stdout(), hashes.ReplaceAllString(stamps.ReplaceAllString(r.stdout, `"$1": "..."`), "sha256:..."))
	io.WriteString(ts.Stderr(), r.stderr)
	if m.last = r.status; (r.status != 0) != neg {
		ts.Fatalf("kdumpctl %s: status %d\n%s%s", strings.Join(args, " "), r.status, r.stdout, r.stderr)
	}
}

// status N compares the exit status of the last kdumpctl.
func statusCmd(ts *testscript.TestScript, _ bool, args []string) {
	if m := scriptMachine(ts); strconv.Itoa(m.last) != args[0] {
		ts.Fatalf("status %d, want %s", m.last, args[0])
	}
}

// machine WORD changes the machine.
func machineCmd(ts *testscript.TestScript, _ bool, args []string) {
	m := scriptMachine(ts)
	switch args[0] {
	case "disk": // a second disk, mounted at /srv
		m.AddDisk()
	case "swap": // a swap partition
		m.AddSwap()
	case "luks": // the root on LUKS, its key in the buildtest.Keyring
		m.AddLUKS()
		m.Write(configfs+"/reuse", "0")
		m.ring = buildtest.Keyring{description: true}
	case "keyless": // the key is gone
		m.ring = buildtest.Keyring{}
	case "unreserved":
		m.Write("sys/kernel/kexec_crash_size", "0\n")
		m.Write("proc/cmdline", "quiet\n")
	case "reserved": // so many MiB; further arguments are the lines of /proc/iomem
		n, _ := strconv.Atoi(args[1])
		m.Write("sys/kernel/kexec_crash_size", fmt.Sprint(n<<20))
		m.Write("proc/cmdline", "quiet crashkernel="+args[1]+"M"+args[2]+"\n")
		iomem := ""
		for _, r := range args[3:] {
			iomem += "  " + r + " : Crash kernel\n"
		}
		m.Write("proc/iomem", iomem)
	case "controller": // of the disk uses addresses of so many bits
		m.Write("sys/devices/pci0000:00/0000:00:02.0/0000:01:00.0/dma_mask_bits", args[1]+"\n")
	case "slotless":
		m.Remove("sys/kernel/kexec_crash_size")
		m.Remove("sys/kernel/kexec_crash_loaded")
	case "stock": // an initramfs of the distribution
		m.Stock()
	case "boot": // it starts again
		n := 1
		fmt.Sscanf(m.Read("proc/sys/kernel/random/boot_id"), "00000000-0000-4000-8000-%d", &n)
		m.boot(n + 1)
	case "raw": // a raw dump on a device
		m.Write("etc/machine-id", machineID+"\n")
		m.machine.dump(args[1], goodRaw())
	case "hotplug": // a processor has come
		m.Write(hotplugFlag, "")
	case "installed": // programs
		m.look = map[string]bool{}
		for _, name := range args[1:] {
			m.look[name] = true
		}
	case "vmlinux": // PATH BUILDID, with debug information
		m.Write(args[1], string(debugtest.Vmlinux(debugtest.Kernel{BuildID: args[2], Release: buildtest.Release, DWARF: true})))
	case "vmcore": // PATH BUILDID [by-hand], kdump-compressed, of Debian's kernel or of one built by hand
		version := "#1 SMP PREEMPT_DYNAMIC Debian 6.1.170-1 (2026-01-02)"
		if len(args) > 3 {
			version = "#1 SMP PREEMPT_DYNAMIC Mon Nov 30 15:31:32 UTC 2026"
		}
		m.Write(args[1], string(debugtest.Dump("amd64", buildtest.Release, version, "OSRELEASE="+buildtest.Release+"\nBUILD-ID="+args[2]+"\nKERNELOFFSET=1e00000\n")))
	case "log": // DIRECTORY, a log that was saved as text
		m.Write(args[1]+"/vmcore-dmesg.txt", "[    0.000000] Linux version 6.1.0\n[    7.250000] hostile \x1b[2J\xff\n[   61.000001] Kernel panic - not syncing: sysrq triggered crash\n")
	case "trace": // DIRECTORY, such a log with a call trace
		m.Write(args[1]+"/vmcore-dmesg.txt", "[   61.000001] Kernel panic - not syncing: sysrq triggered crash\n[   61.000002] Call Trace:\n[   61.000003]  <TASK>\n"+
			"[   61.000004]  panic+0x118/0x2f4\n[   61.000005]  sysrq_handle_crash+0x16/0x20\n[   61.000006]  </TASK>\n")
	case "hook": // a program that prints its standard input
		m.Write("etc/hook", "#!/bin/sh\ncat\n")
		m.Write("etc/ukdump.conf", "HOOK=/etc/hook\n")
		for name, mode := range map[string]os.FileMode{"etc/hook": 0o755, "etc": 0o755, ".": 0o755} {
			ts.Check(os.Chmod(filepath.Join(m.Root, name), mode))
		}
	case "hooks": // N: so often they were started
		if strconv.Itoa(m.hooks) != args[1] {
			ts.Fatalf("%d starts of the hooks, want %s", m.hooks, args[1])
		}
	case "os": // ID of os-release
		m.Write("etc/os-release", "ID="+args[1]+"\n")
	case "user": // an ordinary user from here on
		m.uid = 1000
	case "captured": // N [log]: a crash after the last load, with so many MiB to spare
		n, _ := strconv.Atoi(args[1])
		m.Write("etc/machine-id", machineID+"\n")
		l := state.Store{Root: m.Root}.LastLoaded()
		logOnly := len(args) > 2
		if logOnly {
			m.Write("var/crash/2026-11-22T23-04-05Z/vmcore-dmesg.txt", "log")
		} else {
			m.Write("var/crash/2026-11-22T23-04-05Z/vmcore", kdump(false))
		}
		m.Write("var/crash/2026-11-22T23-04-05Z/report.json", captureReport(func(r *crashdir.Report) {
			if r.LogOnly = logOnly; logOnly {
				r.Outcome = crashdir.DmesgOnly
			}
			r.ID, r.Machine, r.Capture, r.CrashTime, r.LowestMem = "abc-1", machineID, l.Release, l.Time.Add(time.Second), int64(n)<<20
		}))
	case "makedumpfile": // one that knows the running kernel
		t := m.t
		m.memUsage = func(string) ([]byte, error) { return buildtest.MemUsage(t, "bookworm"), nil }
	default:
		ts.Fatalf("machine %s", args[0])
	}
}

// kernel refuses ERRNO: the running kernel does so with the next set, after it has
// dropped the old one. kernel calls N: so often it has been given a set.
func kernelCmd(ts *testscript.TestScript, _ bool, args []string) {
	m := scriptMachine(ts)
	switch args[0] {
	case "refuses":
		for errno := unix.Errno(1); ; errno++ {
			if errno > 200 {
				ts.Fatalf("kernel refuses %s", args[1])
			}
			if unix.ErrnoName(errno) == args[1] {
				m.failOnce(errno)
				return
			}
		}
	case "calls":
		if strconv.Itoa(len(m.calls)) != args[1] {
			ts.Fatalf("the kernel was called %d times, want %s", len(m.calls), args[1])
		}
	}
}

// systemd reloads N: so often it was asked to reload ukdump.service.
func systemdCmd(ts *testscript.TestScript, _ bool, args []string) {
	if m := scriptMachine(ts); args[0] != "reloads" || strconv.Itoa(m.reloads) != args[1] {
		ts.Fatalf("%d reloads, want %s", m.reloads, args[1])
	}
}

// dump NAME OUTCOME makes a dump in /var/crash; the outcome log is that of DUMP=log, and
// starved is dmesg-only for want of memory.
func dumpCmd(ts *testscript.TestScript, _ bool, args []string) {
	m := scriptMachine(ts)
	files := map[string]string{"vmcore-dmesg.txt": "log"}
	outcome, logOnly, starved := crashdir.Outcome(args[1]), args[1] == "log", args[1] == "starved"
	if logOnly || starved {
		outcome = crashdir.DmesgOnly
	}
	switch outcome {
	case crashdir.Complete:
		files["vmcore"] = kdump(false)
	case crashdir.Incomplete:
		files["vmcore-incomplete"] = kdump(true)
	case crashdir.Failed:
		files = map[string]string{"kexec-dmesg.log": "log"}
	}
	files["report.json"] = captureReport(func(r *crashdir.Report) {
		r.ID = strings.ToLower(args[0])
		r.LogOnly = logOnly
		if r.Outcome = outcome; outcome != crashdir.Complete && !logOnly {
			r.Errors = []string{"vmcore: no space left on device"}
		}
		if starved {
			r.OOMKills, r.Errors = 4, []string{"makedumpfile: signal 9 (killed): out of memory: trying copy"}
		}
	})
	for name, content := range files {
		m.Write(filepath.Join("var/crash", args[0], name), atCrash(args[0], content))
	}
}

// journal prints the new entries of the journal; the first one starts it.
func journalCmd(ts *testscript.TestScript, _ bool, _ []string) {
	m := scriptMachine(ts)
	if m.journal == nil {
		m.journal = newJournald(m.t, m.machine)
		return
	}
	for _, e := range m.journal.entries() {
		fmt.Fprintln(ts.Stdout(), strings.ReplaceAll(e, m.Root, "ROOT"))
	}
}
