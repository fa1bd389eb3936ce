package capture

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"ukdump/internal/crashdir"
	"ukdump/internal/makedumpfile"
	"ukdump/internal/plan"
)

func TestParseCmdline(t *testing.T) {
	for line, want := range map[string]overrides{
		"":                            {},
		"console=ttyS0 ukdump.debug":  {debug: true},
		"ukdump.final=halt":           {final: plan.Halt},
		"ukdump.final=hlat":           {}, // a typing error costs nothing
		"ukdump.final=shell":          {},
		"ukdump.shell ukdump.debug\n": {shell: true, debug: true},
		"xukdump.shell":               {},

		"ukdump.known=6.1.0-42-amd64 ukdump.expect=123456789012": {known: "6.1.0-42-amd64", expect: 123456789012},
		"ukdump.known ukdump.known= ukdump.expect":               {},
		"ukdump.misread=6.1 ukdump.misread2=6":                   {misread: "6.1"},
		"ukdump.expect=1G":                                       {},
		"ukdump.expect=-1":                                       {},
		"ukdump.expect=99999999999999999999":                     {},
		"ukdump.expect=5 ukdump.expect=x":                        {expect: 5},
	} {
		if got := parseCmdline(line); got != want {
			t.Errorf("%q: got %+v, want %+v", line, got, want)
		}
	}
}

func TestParseMemAvailable(t *testing.T) {
	for in, want := range map[string]int64{
		"MemTotal:  100 kB\nMemFree:  50 kB\nMemAvailable:   42 kB\nBuffers: 1 kB\n": 42 << 10,
		"MemTotal:  100 kB\n":      0,
		"MemAvailable:":            0,
		"MemAvailable: nothing kB": 0,
	} {
		if got := parseMemAvailable([]byte(in)); got != want {
			t.Errorf("%q: got %d, want %d", in, got, want)
		}
	}
}

func TestParseOOMKills(t *testing.T) {
	for in, want := range map[string]int64{
		"nr_free_pages 5\noom_kill 3\nnuma_hit 7\n": 3,
		"nr_free_pages 5\noom_kill 0\n":             0,
		"nr_free_pages 5\n":                         0,
		"nr_free_pages 5\noom_kill many\n":          0,
		"":                                          0,
	} {
		if got := parseOOMKills([]byte(in)); got != want {
			t.Errorf("%q: got %d, want %d", in, got, want)
		}
	}
}

func TestMonitor(t *testing.T) {
	m := &monitor{fd: -1, limit: time.Minute}
	m.feed("step mount 5\nprog", 10*time.Second)
	if m.step != "mount" || m.limit != 5*time.Second {
		t.Fatalf("got %+v", m)
	}
	if m.overdue(15 * time.Second) {
		t.Error("overdue at its limit")
	}
	if !m.overdue(16 * time.Second) {
		t.Error("not overdue after its limit")
	}
	m.feed("ress\n", 16*time.Second)
	if m.overdue(20 * time.Second) {
		t.Error("overdue in spite of progress")
	}
	m.feed("step x y\nstep\nstep a -1\n"+strings.Repeat("z", 10000), 20*time.Second)
	if m.step != "mount" || m.partial != "" {
		t.Errorf("garbage changed it: %q %d", m.step, len(m.partial))
	}
	m.feed("done complete\n", 21*time.Second)
	if m.done != "complete" {
		t.Errorf("done is %q", m.done)
	}
}

func TestTail(t *testing.T) {
	tl := &tail{max: 5}
	for i := range 100 {
		fmt.Fprintf(tl, "%02d", i)
		if len(tl.buf) > 12 {
			t.Fatalf("holds %d bytes", len(tl.buf))
		}
	}
	if got := string(tl.bytes()); got != "79899" {
		t.Errorf("got %q", got)
	}
	short := &tail{max: 5}
	short.Write([]byte("abc"))
	if string(short.bytes()) != "abc" {
		t.Errorf("got %q", short.bytes())
	}
}

func TestLastLines(t *testing.T) {
	for _, tt := range []struct {
		in   string
		n    int
		want string
	}{
		{"a\nb\nc\n", 2, "b|c"},
		{"a\nb\nc", 5, "a|b|c"},
		{"", 3, ""},
		{"\n\n", 3, ""},
		{"one", 1, "one"},
	} {
		got := string(bytes.Join(lastLines([]byte(tt.in), tt.n), []byte("|")))
		if got != tt.want {
			t.Errorf("%q, %d: got %q, want %q", tt.in, tt.n, got, tt.want)
		}
	}
}

func TestProgressText(t *testing.T) {
	want := "Copying data 45 %, 10.0 MiB written, 5.0 MiB/s, 2 s left"
	if got := progressText(makedumpfile.Progress{Phase: "Copying data", Percent: 45.3}, 10<<20, 2*time.Second); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestOutputTail(t *testing.T) {
	o := &outputTail{tail: tail{max: 200}}
	fmt.Fprint(o, "The kernel version is not supp")
	fmt.Fprint(o, "orted.\r\nred \x1b[31m\n")
	for i := range 1000 {
		fmt.Fprintf(o, "\rCopying data : [%5.1f %%] eta: 1s ", float64(i)/10)
	}
	fmt.Fprint(o, "\rCopying data : [100.0 %]   ")
	want := "The kernel version is not supported.\nred ?[31m\nCopying data : [100.0 %]"
	if got := o.String(); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// ext4Image is the smallest thing that is taken for an ext4 file system.
func ext4Image(uuid [16]byte) []byte {
	b := make([]byte, 8192)
	sb := b[1024:]
	binary.LittleEndian.PutUint32(sb[0x4:], 8)       // blocks
	binary.LittleEndian.PutUint16(sb[0x38:], 0xef53) // magic
	binary.LittleEndian.PutUint32(sb[0x4c:], 1)      // revision
	binary.LittleEndian.PutUint32(sb[0x5c:], 4)      // has_journal
	binary.LittleEndian.PutUint32(sb[0x60:], 0x40)   // extents
	copy(sb[0x68:], uuid[:])
	return b
}

func TestFindDevice(t *testing.T) {
	sys, dev := t.TempDir(), t.TempDir()
	add := func(name string, content []byte) {
		os.MkdirAll(filepath.Join(sys, name), 0o755)
		os.WriteFile(filepath.Join(sys, name, "size"), []byte(fmt.Sprintf("%d\n", len(content)/512)), 0o644)
		os.WriteFile(filepath.Join(dev, name), content, 0o644)
	}
	want := [16]byte{0x6f, 0x1d, 0x7c, 0x1e, 15: 1}
	target := &plan.Target{
		Filesystem: plan.Filesystem{Type: "ext4", UUID: "6f1d7c1e-0000-0000-0000-000000000001"},
		Device:     plan.Device{Name: "vdb1"},
	}
	add("loop0", nil)
	add("vda", make([]byte, 8192))
	add("vda1", ext4Image([16]byte{9}))
	find := func() string {
		s := &scan{sys: sys, dev: dev, seen: map[string]*seenDevice{}}
		name, _ := s.find(target)
		return name
	}
	s := &scan{sys: sys, dev: dev, seen: map[string]*seenDevice{}}
	if got, _ := s.find(target); got != "" {
		t.Fatalf("found %q", got)
	}
	if s := s.String(); !strings.Contains(s, "vda (no known") || !strings.Contains(s, "vda1 (ext4 09000000-") || strings.Contains(s, "loop0") {
		t.Errorf("described as %s", s)
	}
	add("sda1", ext4Image(want)) // it has another name now
	if got, sure := s.find(target); got != "sda1" || sure {
		t.Errorf("found %q, sure %v, want sda1", got, sure)
	}
	target.Filesystem.Type = "xfs" // same UUID, other type
	if got := find(); got != "" {
		t.Errorf("found %q", got)
	}
}

// A device is read once, for a disk that is not the target may hang the next
// time. A device that could not be read is read again.
func TestScanRemembers(t *testing.T) {
	sys, dev := t.TempDir(), t.TempDir()
	os.MkdirAll(filepath.Join(sys, "sda"), 0o755)
	os.WriteFile(filepath.Join(sys, "sda", "size"), []byte("16\n"), 0o644)
	target := &plan.Target{Filesystem: plan.Filesystem{Type: "ext4", UUID: "09000000-0000-0000-0000-000000000000"}}
	s := &scan{sys: sys, dev: dev, seen: map[string]*seenDevice{}}
	if got, _ := s.find(target); got != "" { // no device node yet
		t.Fatalf("found %q", got)
	}
	os.WriteFile(filepath.Join(dev, "sda"), make([]byte, 8192), 0o644)
	if got, _ := s.find(target); got != "" {
		t.Fatalf("found %q", got)
	}
	os.WriteFile(filepath.Join(dev, "sda"), ext4Image([16]byte{9}), 0o644)
	if got, _ := s.find(target); got != "" {
		t.Errorf("read again: found %q", got)
	}
}

// A device that workers hang on is skipped, and its name is known before it is
// read; the target may be on another one.
func TestScanAvoids(t *testing.T) {
	sys, dev := t.TempDir(), t.TempDir()
	for _, name := range []string{"sda", "sdb"} {
		os.MkdirAll(filepath.Join(sys, name), 0o755)
		os.WriteFile(filepath.Join(sys, name, "size"), []byte("16\n"), 0o644)
		os.WriteFile(filepath.Join(dev, name), ext4Image([16]byte{9}), 0o644)
	}
	target := &plan.Target{Filesystem: plan.Filesystem{Type: "ext4", UUID: "09000000-0000-0000-0000-000000000000"}}
	var read []string
	s := &scan{sys: sys, dev: dev, seen: map[string]*seenDevice{"sda": {err: errHung}}, reading: func(name string) { read = append(read, name) }}
	if got, _ := s.find(target); got != "sdb" || strings.Join(read, " ") != "sdb " {
		t.Errorf("found %q after reading %q", got, read)
	}

	w := testWorker(t)
	w.state.Dir, w.place = "", nil
	for i, want := range []struct {
		again step
		avoid string
	}{{"device", ""}, {"", "sda"}, {"device", "sda"}, {"", "sda sdb"}} {
		w.state.Step, w.state.Reading = "device", []string{"sda", "sda", "sdb", "sdb"}[i]
		if got := w.resume(); got != want.again || strings.Join(w.state.Avoid, " ") != want.avoid || w.state.Target != 0 {
			t.Errorf("death %d: %q again, avoiding %q, target %d", i+1, got, w.state.Avoid, w.state.Target)
		}
	}
}

// testWorker is a worker that has come to the point where it collects.
func testWorker(t *testing.T, collectors ...plan.Collector) *worker {
	null, err := os.OpenFile("/dev/null", os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { null.Close() })
	st := &state{Dir: filepath.Join(t.TempDir(), "2026-11-22T23-04-05Z")}
	if err := os.Mkdir(st.Dir, 0o700); err != nil {
		t.Fatal(err)
	}
	w := &worker{
		log: &logger{kmsg: -1, console: -1}, super: reporter{int(null.Fd())}, state: st, report: &st.Report,
		end:  uptime() + time.Minute,
		plan: &plan.Plan{Collectors: collectors, Deadlines: plan.Deadlines{Stall: 3, Finish: 3}},
	}
	w.place = &directory{dir: st.Dir, w: w}
	setMemory(t, elfCore())
	return w
}

func sh(name, script string) plan.Collector {
	return plan.Collector{Name: name, Argv: []string{"/bin/sh", "-c", script, "sh", plan.OutputArg}}
}

func TestRunCollector(t *testing.T) {
	tests := []struct {
		name, script string
		exit         int
		signal       string
		err, stderr  string
		bytes        int64
	}{
		{"good", `printf 12345 >"$1"; echo done >&2`, 0, "", "", "done", 5},
		{"fails", `echo No space left on device >&2; exit 1`, 1, "", "exit status 1: No space left", "No space left on device", 0},
		{"killed", `printf 1 >"$1"; kill -9 $$`, -1, "killed", "signal 9", "", 1},
		{"hangs", `exec sleep 60`, -1, "killed", "no progress for 3s", "", 0},
		{"hangs in a child", `sleep 60; true`, -1, "killed", "no progress for 3s", "", 0},
		{"floods", `i=0; while [ $i -lt 3000 ]; do echo line $i; i=$((i+1)); done`, 0, "", "", "line 2999", 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := testWorker(t)
			c := sh(tt.name, tt.script)
			a := w.runCollector(&c, 1, false)
			if a.Exit != tt.exit || a.Signal != tt.signal || a.Bytes != tt.bytes {
				t.Errorf("got %+v", a)
			}
			if (tt.err == "") != (a.Error == "") || !strings.Contains(a.Error, tt.err) {
				t.Errorf("error %q, want %q", a.Error, tt.err)
			}
			if !strings.HasSuffix(a.Stderr, tt.stderr) || len(a.Stderr) > stderrTail {
				t.Errorf("stderr %q, want %q", a.Stderr, tt.stderr)
			}
		})
	}
}

func TestRunCollectorMissing(t *testing.T) {
	w := testWorker(t)
	c := plan.Collector{Name: "x", Argv: []string{"/nonexistent/makedumpfile", plan.OutputArg}}
	if a := w.runCollector(&c, 1, false); !strings.Contains(a.Error, "no such file") || a.Exit != -1 {
		t.Errorf("got %+v", a)
	}
}

func TestOutOfTime(t *testing.T) {
	w := testWorker(t)
	w.plan.Deadlines.Stall = 60
	w.end = uptime() + 300*time.Millisecond
	c := sh("slow", "while :; do echo x; sleep 0.05; done")
	a := w.runCollector(&c, 1, false)
	if a.Error != "out of time" || a.Signal != "killed" {
		t.Errorf("got %+v", a)
	}
}

func TestVerifyRefuses(t *testing.T) {
	edit := func(f func([]byte)) string {
		b := elfCore()
		f(b)
		return string(b)
	}
	for name, content := range map[string]string{
		"empty":             "",
		"garbage":           strings.Repeat("x", 100000),
		"header":            "KDUMP   " + strings.Repeat("\x00", 4088),
		"header and a hole": string(elfCore()[:4096]) + strings.Repeat("\x00", 2*4096),
		"no log":            string(elfCore()[:2*4096]) + strings.Repeat("\x00", 4096),
		"another log":       edit(func(b []byte) { copy(b[2*4096:], "x") }),
		"no memory":         edit(func(b []byte) { clear(b[120+32 : 120+40]) }),
		"memory of another": edit(func(b []byte) { b[120+26] ^= 0xff }),
	} {
		w := testWorker(t)
		path := filepath.Join(w.state.Dir, crashdir.Vmcore+crashdir.Suffix)
		os.WriteFile(path, []byte(content), 0o600)
		if err := w.verify(); err == nil {
			t.Errorf("%s: accepted", name)
		}
		if _, err := os.Stat(filepath.Join(w.state.Dir, crashdir.Vmcore)); err == nil {
			t.Errorf("%s: has the name of a complete dump", name)
		}
	}
}

// Without the place of the log nobody knows whether the vmcore has it.
func TestVerifyWithoutLog(t *testing.T) {
	w := testWorker(t)
	core := bytes.Replace(elfCore(), []byte("SYMBOL(log_buf)"), []byte("SYMBOL(log_bug)"), 1)
	setMemory(t, core)
	os.WriteFile(filepath.Join(w.state.Dir, crashdir.Vmcore+crashdir.Suffix), core, 0o600)
	if err := w.verify(); err != nil {
		t.Error(err)
	}
	if got := strings.Join(w.report.Warnings, "\n"); !strings.Contains(got, "unknown whether the vmcore has the kernel log: VMCOREINFO has no SYMBOL(log_buf)") {
		t.Errorf("warnings %q", got)
	}
}

func TestProcessKill(t *testing.T) {
	p, err := start([]string{"/bin/sh", "-c", "sleep 60 & sleep 60"}, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	if p.poll() {
		t.Fatal("ended at once")
	}
	if !p.kill(10 * time.Second) {
		t.Fatal("not killed")
	}
	if p.ok() || p.how() != "signal 9 (killed)" {
		t.Errorf("ended with %s", p.how())
	}
}

// elfCore is a small ELF core: the headers, and two pages of memory with the log of a
// kernel before 5.10.
func elfCore() []byte {
	const (
		page  = 4096
		vaddr = 0xffff888000100000
	)
	info := "PAGESIZE=4096\nOSRELEASE=6.1.0\n"
	for i, symbol := range []string{"log_buf", "log_buf_len", "log_first_idx", "log_next_idx"} {
		info += fmt.Sprintf("SYMBOL(%s)=%x\n", symbol, vaddr+8*uint64(i))
	}
	le := binary.LittleEndian
	note := le.AppendUint32(nil, uint32(len("VMCOREINFO\x00")))
	note = le.AppendUint32(note, uint32(len(info)))
	note = append(note, "\x00\x00\x00\x00VMCOREINFO\x00\x00"+info...)
	note = append(note, make([]byte, -len(note)&3)...)

	b := make([]byte, 3*page)
	copy(b, "\x7fELF\x02\x01\x01")
	le.PutUint16(b[16:], 4)  // ET_CORE
	le.PutUint16(b[18:], 62) // EM_X86_64
	le.PutUint32(b[20:], 1)  // version
	le.PutUint64(b[32:], 64) // program headers
	le.PutUint16(b[52:], 64) // size of this header
	le.PutUint16(b[54:], 56) // size of a program header
	le.PutUint16(b[56:], 2)  // their number
	phdr := func(b []byte, typ uint32, off, vaddr, paddr, size uint64) {
		le.PutUint32(b, typ)
		for i, n := range []uint64{off, vaddr, paddr, size, size} {
			le.PutUint64(b[8+8*i:], n)
		}
	}
	phdr(b[64:], 4, 176, 0, 0, uint64(len(note)))
	phdr(b[120:], 1, page, vaddr, 0x100000, 2*page)
	copy(b[176:], note)
	le.PutUint64(b[page:], vaddr+page)
	le.PutUint32(b[page+8:], page)
	copy(b[2*page:], "the kernel log")
	return b
}

// setMemory makes b the memory of the crashed kernel.
func setMemory(t *testing.T, b []byte) {
	t.Helper()
	name := filepath.Join(t.TempDir(), "vmcore")
	if err := os.WriteFile(name, b, 0o600); err != nil {
		t.Fatal(err)
	}
	old := vmcorePath
	t.Cleanup(func() { vmcorePath = old })
	vmcorePath = name
}

// The ladder keeps the best failed output under the name that is looked for.
func TestLadderKeepsTheBest(t *testing.T) {
	header := filepath.Join(t.TempDir(), "header")
	if err := os.WriteFile(header, elfCore(), 0o600); err != nil {
		t.Fatal(err)
	}
	large := fmt.Sprintf("cat %s >\"$1\"; printf %%4096s x >>\"$1\"; exit 1", header)
	small := fmt.Sprintf("cat %s >\"$1\"; exit 1", header)
	w := testWorker(t, sh("large", large), sh("small", small), sh("garbage", `echo x >"$1"; exit 1`), sh("nothing", "exit 1"))
	if err := w.collect(); err == nil {
		t.Fatal("accepted")
	}
	w.settle()
	out := filepath.Join(w.state.Dir, crashdir.Vmcore+crashdir.Suffix)
	if got, want := fileSize(out), int64(len(elfCore())+4096); got != want {
		t.Errorf("%s has %d bytes, want %d", out, got, want)
	}
	if w.report.Outcome != crashdir.Incomplete || len(w.report.Attempts) != 4 {
		t.Errorf("outcome %s after %d attempts", w.report.Outcome, len(w.report.Attempts))
	}
}

// A disk that failed under a vmcore does not get the next one while there is
// another target.
func TestDiskFails(t *testing.T) {
	for targets, want := range map[int]string{1: "b", 2: ""} {
		w := testWorker(t, sh("a", "true"), sh("b", "true"))
		w.plan.Targets = make([]plan.Target, targets)
		w.state.Collector = 1
		a := crashdir.Attempt{Name: "a", Limit: 1 << 30}
		if got := w.next(&a, &w.plan.Collectors[0]); got != "b" {
			t.Errorf("%d targets, no failure: next is %q", targets, got)
		}
		w.place.(*directory).err = unix.EIO
		if got := w.next(&a, &w.plan.Collectors[0]); got != want {
			t.Errorf("%d targets: next is %q, want %q", targets, got, want)
		}
	}
}

// A worker that follows one that died in a collector goes on with the next.
func TestResume(t *testing.T) {
	w := testWorker(t, sh("fatal", "exit 0"), sh("next", `echo ran >"$1"; exit 3`))
	w.state.Collector = 1
	w.report.Attempts = []crashdir.Attempt{{Name: "fatal", Phase: crashdir.Running, Exit: -1}}
	w.collect()
	if n := len(w.report.Attempts); n != 2 || w.report.Attempts[1].Name != "next" || w.report.Attempts[1].Exit != 3 {
		t.Errorf("attempts: %+v", w.report.Attempts)
	}
}

// A panic in one step is an error of that step.
func TestStepRecovers(t *testing.T) {
	w := testWorker(t)
	err := w.step("log", 1, func() error { return errors.New(w.plan.Collectors[len(w.plan.Collectors)].Name) })
	if err == nil || !strings.Contains(err.Error(), "internal error: runtime error: index out of range") {
		t.Errorf("got %v", err)
	}
	if s := w.report.Steps; len(s) != 1 || s[0].Error == "" || w.state.Step != "" {
		t.Errorf("steps %+v, running %q", s, w.state.Step)
	}
}

// A step that ended one worker is done once more. One that ended two is skipped.
func TestResumeAfterDeath(t *testing.T) {
	tests := []struct {
		step           step
		first, second  state // the changes, on a state of zeros
		again1, again2 step
	}{
		{step: "log", again1: "log"},
		{step: "modules", again1: "modules", second: state{Module: 1}},
		{step: "mount", again1: "mount", second: state{Target: 1}},
		{step: "dmesg", again1: "dmesg"},
		{step: "umount", again1: "umount", second: state{Target: 1}},
	}
	for _, tt := range tests {
		t.Run(string(tt.step), func(t *testing.T) {
			w := testWorker(t)
			w.state.Dir, w.place = "", nil
			for i, want := range []struct {
				again step
				state state
			}{{tt.again1, tt.first}, {tt.again2, tt.second}} {
				w.state.Step = tt.step
				if got := w.resume(); got != want.again {
					t.Errorf("death %d: do %q again, want %q", i+1, got, want.again)
				}
				if w.state.Module != want.state.Module || w.state.Target != want.state.Target {
					t.Errorf("death %d: module %d, target %d", i+1, w.state.Module, w.state.Target)
				}
			}
			if n := len(w.report.Errors); n != 2 {
				t.Errorf("%d errors in the report, want 2: %q", n, w.report.Errors)
			}
		})
	}
}

// A collector in which a worker died is run once more and then the next one.
func TestResumeCollector(t *testing.T) {
	w := testWorker(t, sh("a", "exit 0"), sh("b", "exit 0"))
	w.state.Dir, w.place = "", nil
	for i, want := range []int{0, 1} {
		w.state.Step, w.state.Collector = "vmcore", 1
		w.report.Attempts = []crashdir.Attempt{{Name: "a", Phase: crashdir.Running}}
		w.resume()
		if w.state.Collector != want {
			t.Errorf("death %d: next collector %d, want %d", i+1, w.state.Collector, want)
		}
	}
}

// That a worker ended in a collector of the target before says nothing of this
// one's.
func TestResumeCollectorOfAnotherTarget(t *testing.T) {
	w := testWorker(t, sh("a", "exit 0"))
	w.state.Dir, w.place = "", nil
	w.report.Attempts = []crashdir.Attempt{{Name: "a", Phase: crashdir.Running}}
	w.state.Step, w.state.Target, w.state.Attempts = "vmcore", 1, 1
	w.resume()
	if w.state.Collector != 0 {
		t.Errorf("next collector %d, want 0", w.state.Collector)
	}
}

// A worker can also end between two steps. Its target is still open then.
func TestResumeBetweenSteps(t *testing.T) {
	w := testWorker(t)
	w.state.Step, w.place = "", nil
	if w.resume(); w.state.Dir == "" || len(w.report.Errors) > 0 {
		t.Errorf("the first worker: %q in %q", w.report.Errors, w.state.Dir)
	}
	w.state.Begun = true
	// There is no file system on /mnt of this machine.
	if w.resume(); w.state.Dir != "" || w.state.Target != 1 || len(w.report.Errors) != 1 {
		t.Errorf("the second: %q on target %d in %q", w.report.Errors, w.state.Target, w.state.Dir)
	}
}

// The attempts at one target do not count for the next one.
func TestOpenBeginsAnew(t *testing.T) {
	w := testWorker(t, sh("a", "exit 0"))
	w.place, w.state.Dir = nil, ""
	w.plan.Targets = []plan.Target{{Kind: plan.Directory, Filesystem: plan.Filesystem{Type: "ext4", UUID: "none"}}}
	w.plan.Deadlines.Device = 0
	w.state.Collector, w.state.Unconfirmed, w.report.Attempts = 1, 1, []crashdir.Attempt{{Name: "a"}}
	if w.open(&w.plan.Targets[0]) {
		t.Fatal("opened")
	}
	if w.state.Collector != 0 || w.state.Unconfirmed != 0 || w.state.Attempts != 1 {
		t.Errorf("got %+v", w.state)
	}
}
