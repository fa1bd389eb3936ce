package ctl

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"ukdump/internal/advice"
	"ukdump/internal/builder/buildtest"
	"ukdump/internal/crashdir"
	"ukdump/internal/fsid"
	"ukdump/internal/host"
	"ukdump/internal/rawdump"
)

const (
	rawID     = "6f1c2c1e-2f0e-4e55-a4b5-3f2a0f6cf3a1"
	machineID = "0123456789abcdef0123456789abcdef"
	crashDir  = "var/crash/2026-11-22T23-04-08Z"
)

// flattened writes a dump as makedumpfile -F does, its head twice.
func flattened(dump string) []byte {
	be := binary.BigEndian
	b := make([]byte, 4096)
	copy(b, "makedumpfile")
	be.PutUint64(b[16:], 1)
	be.PutUint64(b[24:], 1)
	for _, part := range []struct {
		off  int
		data string
	}{{0, strings.Repeat("x", 4096)}, {4096, dump[4096:]}, {0, dump[:4096]}} {
		b = be.AppendUint64(b, uint64(part.off))
		b = be.AppendUint64(b, uint64(len(part.data)))
		b = append(b, part.data...)
	}
	return append(b, bytes.Repeat([]byte{0xff}, 16)...)
}

// swapArea is the head of one for pages of 4 KiB.
func swapArea() []byte {
	b := make([]byte, 4096)
	b[1024] = 1
	copy(b[1036:], "0123456789abcdef")
	copy(b[4086:], "SWAPSPACE2")
	return b
}

// raw is a device of a machine with a dump.
type raw struct {
	header rawdump.Header
	report string
	log    string // "" for "the log\n"
	stream []byte
	// length is the argument of SaveLength, for a stream that does not end.
	length   int64
	complete bool
	finish   bool
}

func goodRaw() raw {
	return raw{
		header: rawdump.Header{
			ID: rawID, Host: "recorded", MachineID: machineID, Kernel: buildtest.Release,
			Started: time.Date(2026, 11, 22, 23, 4, 8, 0, time.UTC), Held: fsid.ID{Type: "swap", UUID: "30313233-3435-3637-3839-616263646566"},
		},
		report: captureReport(func(r *crashdir.Report) {
			r.ID, r.Target = rawID, crashdir.Target{Dir: "raw:PARTUUID=x", Device: "vdz1", FSType: "swap"}
		}),
		stream: flattened(kdump(false)), complete: true, finish: true,
	}
}

// device makes a block device of 16 MiB that is swap, or nothing.
func (m *machine) device(name string, swap bool) string {
	m.t.Helper()
	const size = rawdump.MinSize
	m.Write("sys/class/block/"+name+"/size", fmt.Sprintln(size/512))
	m.Write("dev/"+name, "")
	path := filepath.Join(m.Root, "dev", name)
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err == nil {
		err = f.Truncate(size)
	}
	if err == nil && swap {
		_, err = f.WriteAt(swapArea(), 0)
	}
	if err := errors.Join(err, f.Close()); err != nil {
		m.t.Fatal(err)
	}
	return path
}

// dump makes a device and writes a dump to it, as PID 1 would.
func (m *machine) dump(name string, d raw) string {
	m.t.Helper()
	path := m.device(name, d.header.Held.Type == "swap")
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		m.t.Fatal(err)
	}
	defer f.Close()
	text := func(s string) func(io.Writer) error {
		return func(w io.Writer) error { _, err := io.WriteString(w, s); return err }
	}
	w, err := rawdump.Create(f, rawdump.MinSize, d.header)
	if err != nil {
		m.t.Fatal(err)
	}
	check := func(err error) {
		m.t.Helper()
		if err != nil {
			m.t.Fatal(err)
		}
	}
	check(w.WriteFile(crashdir.Dmesg, text(cmp.Or(d.log, "the log\n"))))
	if d.report != "" {
		check(w.WriteFile(crashdir.ReportFile, text(d.report)))
	}
	s, err := w.BeginStream()
	check(err)
	_, err = f.WriteAt(d.stream, s.Start)
	check(err)
	if d.length > 0 {
		check(w.SaveLength(d.length))
	} else {
		check(w.EndStream(int64(len(d.stream)), d.complete, func() {}))
	}
	if d.finish {
		check(w.WriteFile(crashdir.CaptureLog, text("the other log\n")))
		check(w.Finish())
	}
	return path
}

// head returns the type that fsid finds on a device.
func head(t *testing.T, path string) string {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	id, err := fsid.Probe(f, rawdump.MinSize)
	if err != nil && !errors.Is(err, fsid.ErrUnknown) {
		t.Fatal(err)
	}
	return id.Type
}

// only returns the one dump below /var/crash.
func (m *machine) only() crashdir.Dump {
	m.t.Helper()
	dumps, err := crashdir.List(filepath.Join(m.Root, "var/crash"))
	if err != nil || len(dumps) != 1 {
		m.t.Fatalf("there are %d dumps: %v", len(dumps), err)
	}
	return dumps[0]
}

// collecting makes a machine on which nothing but raw dumps are.
func collecting(t *testing.T) *machine {
	m := newMachine(t)
	m.Write("etc/machine-id", machineID+"\n")
	m.Write("var/crash/README", "no dump")
	return m
}

func TestCollect(t *testing.T) {
	t.Parallel()
	m := collecting(t)
	m.expect("collect", result{0, "Nothing to collect.\n", ""})
	m.expect("collect --discard", result{0, "Nothing to collect.\n", ""})

	plain := m.device("vdy", true)
	dev := m.dump("vdz1", goodRaw())
	if head(t, dev) != fsid.RawDump {
		t.Fatal("there is no dump")
	}
	m.expect("collect", result{0, "collected ROOT/" + crashDir + " from ROOT/dev/vdz1: complete, ...\n", ""})
	if got := m.read(crashDir + "/vmcore"); got != kdump(false) {
		t.Errorf("the vmcore has %d bytes, or other ones", len(got))
	}
	if got := m.read(crashDir + "/vmcore-dmesg.txt"); got != "the log\n" {
		t.Errorf("the log is %q", got)
	}
	if got := m.read(crashDir + "/kexec-dmesg.log"); got != "the other log\n" {
		t.Errorf("the capture kernel's log is %q", got)
	}
	r := m.only().Report
	if r == nil || r.Outcome != crashdir.Complete || r.ID != rawID || r.Vmcore != 24576 || len(r.Errors) > 0 || r.Target.Dir != "raw:PARTUUID=x" || r.Kernel != buildtest.Release {
		t.Errorf("the report says %+v", r)
	}
	m.private(crashDir)
	for _, path := range []string{dev, plain} {
		b, err := os.ReadFile(path)
		if err != nil || !bytes.Equal(b[:4096], swapArea()) {
			t.Errorf("%s is not swap again: %v", path, err)
		}
	}
	if m.swapons != 1 {
		t.Errorf("swap was turned on %d times", m.swapons)
	}
	m.expect("collect", result{0, "Nothing to collect.\n", ""})
	m.only()
}

func (m *machine) read(name string) string {
	m.t.Helper()
	b, err := os.ReadFile(filepath.Join(m.Root, name))
	if err != nil {
		m.t.Error(err)
	}
	return string(b)
}

// private makes sure that nobody else can read a dump.
func (m *machine) private(name string) {
	m.t.Helper()
	err := filepath.WalkDir(filepath.Join(m.Root, name), func(path string, e os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		fi, err := e.Info()
		if err == nil && fi.Mode().Perm()&0o077 != 0 {
			m.t.Errorf("%s has mode %v", path, fi.Mode())
		}
		return err
	})
	if err != nil {
		m.t.Error(err)
	}
}

// A raw dump of DUMP=log stays one that is a success.
func TestCollectLogOnly(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	m.Write("etc/machine-id", machineID+"\n")
	d := goodRaw()
	d.stream, d.complete = nil, false
	d.report = captureReport(func(r *crashdir.Report) {
		r.ID, r.Outcome, r.LogOnly, r.Vmcore, r.Target = rawID, crashdir.DmesgOnly, true, 0, crashdir.Target{Dir: "raw:swap", Device: "vdz1", FSType: "swap"}
	})
	m.dump("vdz1", d)
	if r := m.kdumpctl("collect"); r.status != 0 || !strings.Contains(r.stdout, "dmesg-only") || r.stderr != "" {
		t.Errorf("%+v", r)
	}
	dumps, err := crashdir.List(filepath.Join(m.Root, "var/crash"))
	if err != nil || len(dumps) != 1 || !dumps[0].LogOnly || len(dumps[0].Report.Errors) > 0 {
		t.Errorf("%+v, %v", dumps, err)
	}
}

// A capture that did not finish leaves less.
func TestCollectIncomplete(t *testing.T) {
	t.Parallel()
	m := collecting(t)
	whole := goodRaw()
	for name, tt := range map[string]struct {
		change  func(d *raw)
		damage  func(m *machine, dev string)
		outcome crashdir.Outcome
		vmcore  int64
		errors  string // in the report
		stderr  string
	}{
		"cut": {
			change:  func(d *raw) { d.length, d.finish = 4096+16+4096+16+1000, false },
			outcome: crashdir.Incomplete, vmcore: 4096 + 1000, errors: "the capture did not finish",
		},
		"nothing of the stream": {
			change:  func(d *raw) { d.length, d.finish = 1, false },
			outcome: crashdir.DmesgOnly, errors: "the capture did not finish",
		},
		"ended, but not complete": {
			change:  func(d *raw) { d.complete = false },
			outcome: crashdir.Incomplete, vmcore: 24576,
		},
		"no report": {
			change:  func(d *raw) { d.report = "" },
			outcome: crashdir.Complete, vmcore: 24576, errors: "collect: read the report of the capture: report.json: file does not exist",
			stderr: "kdumpctl: warning: ROOT/dev/vdz1: read the report of the capture: report.json: file does not exist\n",
		},
		"stream damaged": {
			damage:  func(m *machine, dev string) { m.flip(dev, 6<<20+4096+16+4096+16+20000) },
			outcome: crashdir.Incomplete, vmcore: 24576, errors: "collect: the stream of the raw dump is damaged",
			stderr: "kdumpctl: warning: ROOT/dev/vdz1: the stream of the raw dump is damaged\n",
		},
		"log damaged": {
			damage:  func(m *machine, dev string) { m.flip(dev, 5<<20) },
			outcome: crashdir.Complete, vmcore: 24576, errors: "collect: vmcore-dmesg.txt of the raw dump is damaged",
			stderr: "kdumpctl: warning: ROOT/dev/vdz1: vmcore-dmesg.txt of the raw dump is damaged\n",
		},
	} {
		m.run(t, name, func(t *testing.T) {
			d := whole
			if tt.change != nil {
				tt.change(&d)
			}
			dev := m.dump("vdz1", d)
			if tt.damage != nil {
				tt.damage(m, dev)
			}
			m.expect("collect", result{0, "collected ROOT/" + crashDir + " from ROOT/dev/vdz1: " + string(tt.outcome) + ", ...\n", tt.stderr})
			got := m.only()
			if got.Outcome != tt.outcome || got.Report == nil || got.Report.Outcome != tt.outcome || got.Report.Vmcore != tt.vmcore {
				t.Errorf("got %s, report %+v", got.Outcome, got.Report)
			}
			if e := strings.Join(got.Report.Errors, "; "); e != tt.errors {
				t.Errorf("the report's errors are %q", e)
			}
			if head(t, dev) != "swap" {
				t.Errorf("the device was not given back")
			}
			m.remove(got.Path)
		})
	}
}

// flip changes one byte of a device.
func (m *machine) flip(dev string, off int64) {
	m.t.Helper()
	f, err := os.OpenFile(dev, os.O_RDWR, 0)
	if err != nil {
		m.t.Fatal(err)
	}
	defer f.Close()
	b := make([]byte, 1)
	_, err = f.ReadAt(b, off)
	b[0] ^= 0xff
	if _, werr := f.WriteAt(b, off); err != nil || werr != nil {
		m.t.Fatal(err, werr)
	}
}

func (m *machine) remove(path string) {
	m.t.Helper()
	if err := os.RemoveAll(path); err != nil {
		m.t.Fatal(err)
	}
}

// Whatever cannot be saved stays on the device, and --discard takes it away.
func TestCollectLeaves(t *testing.T) {
	t.Parallel()
	m := collecting(t)
	const advice = "kdumpctl: Run kdumpctl collect --discard to give the device back without saving the dump.\n"
	for name, tt := range map[string]struct {
		dump    func(m *machine) string
		args    string
		status  int
		stdout  string
		stderr  string
		saved   crashdir.Outcome // "" for nothing
		restore string           // content of the device after --discard
	}{
		"damaged header": {
			dump:   func(m *machine) string { dev := m.dump("vdz1", goodRaw()); m.flip(dev, 40); return dev },
			status: 1, stderr: "kdumpctl: ROOT/dev/vdz1: the raw dump stays there: the header of the raw dump is damaged\n" + advice,
		},
		"no state": {
			dump: func(m *machine) string {
				dev := m.dump("vdz1", goodRaw())
				m.flip(dev, 68<<10)
				m.flip(dev, 72<<10)
				return dev
			},
			status: 1, stderr: "kdumpctl: ROOT/dev/vdz1: the raw dump stays there: the state of the raw dump is damaged\n" + advice,
			restore: "swap",
		},
		"no dump in it": {
			dump: func(m *machine) string {
				d := goodRaw()
				d.stream = bytes.Repeat([]byte("never seen "), 1000)
				return m.dump("vdz1", d)
			},
			status: 1, stdout: "collected ROOT/" + crashDir + " from ROOT/dev/vdz1: dmesg-only, ...\n",
			stderr: "kdumpctl: warning: ROOT/dev/vdz1: not a flattened dump\n" +
				"kdumpctl: ROOT/dev/vdz1: the raw dump stays there: not a flattened dump\n" + advice,
			saved: crashdir.DmesgOnly, restore: "swap",
		},
		"does not verify": {
			dump: func(m *machine) string {
				d := goodRaw()
				d.stream = flattened(kdump(true))
				return m.dump("vdz1", d)
			},
			status: 1, stdout: "collected ROOT/" + crashDir + " from ROOT/dev/vdz1: incomplete, ...\n",
			stderr: "kdumpctl: warning: ROOT/dev/vdz1: ROOT/" + crashDir + "/vmcore-incomplete: verify dump: makedumpfile marked it as incomplete\n" +
				"kdumpctl: ROOT/dev/vdz1: the raw dump stays there: ROOT/" + crashDir + "/vmcore-incomplete: verify dump: makedumpfile marked it as incomplete\n" + advice,
			saved: crashdir.Incomplete, restore: "swap",
		},
		"not mounted": {
			dump: func(m *machine) string {
				m.Write("etc/fstab", "# /var/crash\nUUID=x / ext4\nUUID=y /var/crash ext4 defaults 0 2\n")
				return m.dump("vdz1", goodRaw())
			},
			status: 1,
			stderr: "kdumpctl: ROOT/dev/vdz1: the raw dump stays there: /var/crash is not mounted, and dumps go to ROOT/var/crash\n" +
				"kdumpctl: Mount /var/crash and run kdumpctl collect again, or name another directory with --dir.\n",
			restore: "swap",
		},
		"bad configuration": {
			dump:   func(m *machine) string { m.Write("etc/ukdump.conf", "TAGRET=/x\n"); return m.dump("vdz1", goodRaw()) },
			status: 1, stderr: "kdumpctl: ROOT/dev/vdz1: ROOT/etc/ukdump.conf:1: ...\nkdumpctl: See ukdump.conf(5) for the keys and their values.\n",
			restore: "swap",
		},
		"no room": {
			dump: func(m *machine) string {
				d := goodRaw()
				d.length = 1 // a stream of 8 TiB on a device with holes
				dev := m.dump("vdz1", d)
				m.grow(dev, "vdz1", d.header, 8<<40)
				return dev
			},
			status: 1, stderr: "kdumpctl: ROOT/dev/vdz1: the raw dump stays there: it needs 8.0 TiB in ROOT/var/crash, where ...\n" +
				"kdumpctl: Free some space there and run kdumpctl collect again, or name another directory with --dir.\n",
			restore: "swap",
		},
		"another machine's": {
			dump: func(m *machine) string {
				m.Write("etc/machine-id", strings.Repeat("f", 32))
				return m.dump("vdz1", goodRaw())
			},
			stderr: "kdumpctl: warning: ROOT/dev/vdz1 has a dump of another machine, recorded, which stays there. Run kdumpctl collect --foreign to save it\n",
			args:   "--foreign", restore: "swap",
		},
		"another machine's without a name": {
			dump: func(m *machine) string {
				m.Write("etc/machine-id", strings.Repeat("f", 32))
				d := goodRaw()
				d.header.Host = ""
				return m.dump("vdz1", d)
			},
			stderr: "kdumpctl: warning: ROOT/dev/vdz1 has a dump of another machine, " + machineID + ", which stays there. Run kdumpctl collect --foreign to save it\n",
			args:   "--foreign", restore: "swap",
		},
	} {
		m.run(t, name, func(t *testing.T) {
			dev := tt.dump(m)
			// Again and again it is the same, and never a second directory.
			for range 2 {
				m.expect("collect", result{tt.status, tt.stdout, tt.stderr})
				if head(t, dev) != fsid.RawDump {
					t.Fatal("the dump is gone")
				}
				if tt.saved != "" {
					if d := m.only(); d.Outcome != tt.saved || d.Report == nil || d.Report.Outcome != tt.saved {
						t.Errorf("saved %s, report %+v", d.Outcome, d.Report)
					}
				} else if dumps, err := crashdir.List(filepath.Join(m.Root, "var/crash")); len(dumps) > 0 || err != nil {
					t.Errorf("%d dumps were saved: %v", len(dumps), err)
				}
			}
			m.expect(strings.TrimSpace("collect --discard "+tt.args), result{0, "discarded the dump on ROOT/dev/vdz1\n", ""})
			if got := head(t, dev); got != tt.restore {
				t.Errorf("after --discard the device holds %q", got)
			}
			if tt.saved != "" {
				m.remove(m.only().Path)
			}
		})
	}
}

// grow makes a device larger and writes its dump again, with a stream that takes
// almost all of it.
func (m *machine) grow(dev, name string, h rawdump.Header, size int64) {
	m.t.Helper()
	m.Write("sys/class/block/"+name+"/size", fmt.Sprintln(size/512))
	f, err := os.OpenFile(dev, os.O_RDWR, 0)
	if err != nil {
		m.t.Fatal(err)
	}
	defer f.Close()
	if err := f.Truncate(size); err != nil {
		m.t.Skipf("no file with so many holes here: %v", err)
	}
	if _, err := rawdump.Restore(f, size); err != nil {
		m.t.Fatal(err)
	}
	w, err := rawdump.Create(f, size, h)
	if err == nil {
		_, err = w.BeginStream()
	}
	if err == nil {
		err = w.SaveLength(size)
	}
	if err != nil {
		m.t.Fatal(err)
	}
}

// errStopped ends a collect.
var errStopped = errors.New("stopped")

// stopAt collects as far as the step of that number, from 0, and reports whether
// there was one.
func (m *machine) stopAt(n int) bool {
	m.t.Helper()
	c := m.ctl()
	run := c.collector()
	run.Step = func() error {
		if n == 0 {
			return errStopped
		}
		n--
		return nil
	}
	err := run.Collect()
	if err != nil && !errors.Is(err, errStopped) {
		m.t.Fatal(err)
	}
	return err != nil
}

// A collect that ends after any of its steps is made good by the next one.
func TestCollectInterrupted(t *testing.T) {
	t.Parallel()
	m := collecting(t)
	steps := 0
	for more := true; more && !t.Failed(); {
		m.run(t, fmt.Sprint(steps), func(t *testing.T) {
			dev := m.dump("vdz1", goodRaw())
			if more = m.stopAt(steps); !more {
				return
			}
			steps++
			// In the middle of the next step: files that are not whole.
			dir := filepath.Join(m.Root, crashDir)
			exists := func(name string) bool { _, err := os.Lstat(filepath.Join(dir, name)); return err == nil }
			for _, name := range []string{crashdir.ReportFile, crashdir.Dmesg, crashdir.Vmcore} {
				if !exists("") || !exists(crashdir.ReportFile) && name != crashdir.ReportFile {
					continue // a report is the first
				}
				if name == crashdir.Vmcore && exists(name) {
					continue
				}
				if err := os.WriteFile(filepath.Join(dir, name+crashdir.Suffix), []byte(strings.Repeat("half", 9000)), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			m.expect("collect", result{0, "collected ROOT/" + crashDir + " from ROOT/dev/vdz1: complete, ...\n", ""})
			got := m.only()
			if got.Outcome != crashdir.Complete || got.Report == nil || got.Report.Outcome != crashdir.Complete || len(got.Report.Errors) > 0 {
				t.Errorf("got %s, report %+v", got.Outcome, got.Report)
			}
			if m.read(crashDir+"/vmcore") != kdump(false) || head(t, dev) != "swap" {
				t.Error("the vmcore is another one, or the device was not given back")
			}
			m.remove(got.Path)
		})
	}
	if steps < 10 {
		t.Errorf("%d steps", steps)
	}
}

// Until the end the report says that there is more to come.
func TestCollectInterim(t *testing.T) {
	t.Parallel()
	m := collecting(t)
	m.dump("vdz1", goodRaw())
	if !m.stopAt(7) {
		t.Fatal("it was not stopped")
	}
	got := m.only()
	if got.Outcome != crashdir.Incomplete || got.Report == nil || got.Report.Outcome != crashdir.Incomplete || strings.Join(got.Report.Errors, "") != "collect: interrupted" {
		t.Errorf("got %s, report %+v", got.Outcome, got.Report)
	}
}

// badDisk cannot read one byte.
type badDisk struct {
	io.ReaderAt
	bad int64
}

func (b badDisk) ReadAt(p []byte, off int64) (int, error) {
	if off <= b.bad && b.bad < off+int64(len(p)) {
		return 0, syscall.EIO
	}
	return b.ReaderAt.ReadAt(p, off)
}

// A disk may read tomorrow the sector that it cannot read today.
func TestCollectReadError(t *testing.T) {
	t.Parallel()
	m := collecting(t)
	for name, tt := range map[string]struct {
		bad     int64
		outcome crashdir.Outcome
	}{
		"log":    {5 << 20, crashdir.Complete},
		"stream": {6<<20 + 4096 + 16 + 4096 + 16 + 5000, crashdir.Incomplete},
	} {
		m.run(t, name, func(t *testing.T) {
			dev := m.dump("vdz1", goodRaw())
			run := m.ctl().collector()
			run.Disk = func(device io.ReaderAt) io.ReaderAt { return badDisk{device, tt.bad} }
			if err := run.Collect(); !strings.Contains(advice.For(err), "collect --discard") || !errors.Is(err, syscall.EIO) {
				t.Errorf("got %v", err)
			}
			if head(t, dev) != fsid.RawDump {
				t.Error("the dump is gone")
			}
			if got := m.only(); got.Outcome != tt.outcome || got.Report == nil || len(got.Report.Errors) != 1 {
				t.Errorf("got %s, report %+v", got.Outcome, got.Report)
			}
			m.expect("collect", result{0, "collected ROOT/" + crashDir + " from ROOT/dev/vdz1: complete, ...\n", ""})
			m.remove(m.only().Path)
		})
	}
}

// Two devices with a dump of the same crash, on one of which it was cut, and a
// directory of that crash that the capture itself made.
func TestCollectSameCrash(t *testing.T) {
	t.Parallel()
	m := collecting(t)
	m.Write(crashDir+"/report.json", captureReport(func(r *crashdir.Report) { r.ID, r.Outcome = rawID, crashdir.Incomplete }))
	m.Write(crashDir+"/vmcore-incomplete", kdump(true))
	d := goodRaw()
	d.length, d.finish = 9000, false
	a := m.dump("vdy1", d)
	d = goodRaw()
	d.header.Held = fsid.ID{}
	b := m.dump("vdz1", d)
	m.expect("collect", result{0, "collected ROOT/" + crashDir + "-2 from ROOT/dev/vdy1: incomplete, ...\n" +
		"collected ROOT/" + crashDir + "-3 from ROOT/dev/vdz1: complete, ...\n", ""})
	if m.read(crashDir+"/vmcore-incomplete") != kdump(true) {
		t.Error("what the capture had left is another one")
	}
	if head(t, a) != "swap" || head(t, b) != "" {
		t.Error("the devices were not given back")
	}
}

// A device under another one, drives without a medium, and small devices.
func TestCollectSkips(t *testing.T) {
	t.Parallel()
	m := collecting(t)
	m.dump("vdz1", goodRaw())
	m.Write("sys/class/block/vdz1/holders/dm-0", "")
	for _, name := range []string{"sr0", "fd0", "ram0"} {
		m.dump(name, goodRaw())
	}
	m.dump("vdx", goodRaw())
	m.Write("sys/class/block/vdx/size", "2\n")
	m.Write("sys/class/block/nvme0c0n1/size", "1000000\n") // has no node
	m.Write("sys/class/block/vdw/size", "what\n")
	m.expect("collect", result{0, "Nothing to collect.\n", ""})
}

// The content of a device is untrusted.
func TestCollectHostile(t *testing.T) {
	t.Parallel()
	m := collecting(t)
	d := goodRaw()
	d.header.Host = "\x1b[2J"
	d.header.MachineID = strings.Repeat("e", 32)
	d.report = captureReport(func(r *crashdir.Report) {
		r.ID, r.Raw, r.Host, r.Machine = "../../../etc", "../..", evil, evil
		r.Target = crashdir.Target{Dir: "../../../etc", Device: "../../sda"}
		r.Errors, r.Outcome = []string{evil}, crashdir.Complete
	})
	d.complete = false
	m.dump("dm-0", d)
	m.Link(crashDir, m.Root+"/etc") // and so is a file that lies in the way
	got := m.kdumpctl("collect")
	harmless(t, "stderr", got.stderr)
	if !strings.Contains(got.stderr, "another machine, ?[2J,") {
		t.Errorf("got %q", got.stderr)
	}
	got = m.kdumpctl("collect --foreign")
	harmless(t, "stdout", got.stdout)
	harmless(t, "stderr", got.stderr)
	if r := m.only().Report; got.status != 0 || r == nil || r.ID != rawID || r.Outcome != crashdir.Incomplete {
		t.Errorf("got %+v, report %+v", got, r)
	}
	if _, err := os.Stat(filepath.Join(m.Root, "etc/report.json")); err == nil {
		t.Error("a link was followed")
	}
	if fi, err := os.Lstat(filepath.Join(m.Root, crashDir)); err != nil || fi.Mode()&os.ModeSymlink == 0 {
		t.Error("what lay in the way is gone")
	}
}

// sparse returns a flattened dump of n records of one byte, each this far from the last.
func sparse(n int, distance int64) []byte {
	be := binary.BigEndian
	b := make([]byte, 4096)
	copy(b, "makedumpfile")
	be.PutUint64(b[16:], 1)
	be.PutUint64(b[24:], 1)
	for i := range n {
		b = be.AppendUint64(b, uint64(int64(i+1)*distance))
		b = be.AppendUint64(b, 1)
		b = append(b, 1)
	}
	return append(b, bytes.Repeat([]byte{0xff}, 16)...)
}

// A small stream takes no more space than a dump of this machine can have.
func TestCollectBounded(t *testing.T) {
	t.Parallel()
	const large = "its vmcore is larger than a dump of this machine can be"
	for name, tt := range map[string]struct {
		stream []byte
		memory string
		stderr string
	}{
		"many tiny records":     {sparse(300_000, 4096), "MemTotal: 4 kB\n", large},
		"a huge offset":         {sparse(1, 1<<60), "MemTotal: 2000000 kB\n", large},
		"the largest offset":    {sparse(1, math.MaxInt64-1), "MemTotal: 2000000 kB\n", large},
		"distant records":       {sparse(1000, 1<<30), "MemTotal: 2000000 kB\n", large},
		"records of its memory": {sparse(100, 1<<20), "MemTotal: 2000000 kB\n", ""},
	} {
		t.Run(name, func(t *testing.T) {
			m := collecting(t)
			m.Write("proc/meminfo", tt.memory)
			d := goodRaw()
			d.stream = tt.stream
			path := m.dump("vdz1", d)
			got := m.kdumpctl("collect")
			if tt.stderr != "" && (got.status != 1 || !strings.Contains(got.stderr, tt.stderr)) || strings.Contains(got.stderr, large) != (tt.stderr == large) {
				t.Errorf("got %+v", got)
			}
			if tt.stderr == "" {
				return
			}
			if _, err := os.Stat(filepath.Join(m.Root, crashDir, "vmcore-incomplete")); err == nil {
				t.Error("a part of the vmcore is left")
			}
			f, err := os.Open(path)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			if _, err := rawdump.Open(f, rawdump.MinSize); err != nil {
				t.Errorf("the raw dump is gone: %v", err)
			}
		})
	}
}

// A dump that names no machine is taken only if somebody asks for it.
func TestCollectNameless(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		dump, here string
		collected  bool
	}{
		"of this machine":        {machineID, machineID, true},
		"of another":             {strings.Repeat("e", 32), machineID, false},
		"names none":             {"", machineID, false},
		"here is none":           {machineID, "", false},
		"none of either":         {"", "", false},
		"this one in upper case": {strings.Repeat("E", 32), machineID, false},
	} {
		t.Run(name, func(t *testing.T) {
			m := collecting(t)
			m.Write("etc/machine-id", tt.here+"\n")
			d := goodRaw()
			d.header.MachineID = tt.dump
			m.dump("vdz1", d)
			got := m.kdumpctl("collect")
			if collected := strings.HasPrefix(got.stdout, "collected "); collected != tt.collected || got.status != 0 {
				t.Errorf("got %+v", got)
			}
			if tt.collected {
				return
			}
			if !strings.Contains(got.stderr, "which stays there. Run kdumpctl collect --foreign to save it") {
				t.Errorf("got %+v", got)
			}
			if got := m.kdumpctl("collect --foreign"); !strings.HasPrefix(got.stdout, "collected ") {
				t.Errorf("with --foreign: %+v", got)
			}
		})
	}
}

func TestCollectDir(t *testing.T) {
	t.Parallel()
	m := collecting(t)
	m.Write("etc/ukdump.conf", "TARGET=\"/srv/crash /var/crash\"\n")
	m.dump("vdz1", goodRaw())
	m.expect("collect", result{0, "collected ROOT/srv/crash/2026-11-22T23-04-08Z from ROOT/dev/vdz1: complete, ...\n", ""})
	m.dump("vdz1", goodRaw())
	m.expect("collect --dir ROOT/else/where", result{0, "collected ROOT/else/where/2026-11-22T23-04-08Z from ROOT/dev/vdz1: complete, ...\n", ""})
}

// A volume that LVM turns on late is awaited, but not for ever.
func TestCollectAwaitsVolumes(t *testing.T) {
	t.Parallel()
	m := collecting(t)
	m.Write("var/lib/ukdump/loaded.json", `{"volumes":["LVM-one"]}`)
	m.Write("var/lib/ukdump/last-good/set.json", `{"volumes":["LVM-two","LVM-one"]}`)
	m.Write("sys/class/block/dm-0/dm/uuid", "LVM-one\n")
	var waited time.Duration
	m.sleep = func(d time.Duration) {
		if waited += d; waited >= 3*time.Second {
			m.dump("dm-1", goodRaw())
			m.Write("sys/class/block/dm-1/dm/uuid", "LVM-two\n")
			m.sleep = func(time.Duration) { t.Error("waits for what is there") }
		}
	}
	m.expect("collect", result{0, "collected ROOT/" + crashDir + " from ROOT/dev/dm-1: complete, ...\n", ""})
	m.only()

	m.Remove("sys/class/block/dm-0")
	m.Remove("var/lib/ukdump/loaded.json") // a load goes on
	waited, m.sleep = 0, func(d time.Duration) { waited += d }
	m.expect("collect", result{0, "Nothing to collect.\n", "kdumpctl: warning: logical volumes that may hold a dump did not appear: LVM-one\n"})
	if waited != host.AppearLimit {
		t.Errorf("waited %v", waited)
	}
}
