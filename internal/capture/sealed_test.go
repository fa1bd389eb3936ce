package capture

import (
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"ukdump/internal/crashdir"
	"ukdump/internal/plan"
	"ukdump/internal/rawdump"
)

func TestMain(m *testing.M) {
	if mode := os.Getenv("UKDUMP_FAKE"); mode != "" {
		os.Exit(fakeSeal(mode, os.Args[2]))
	}
	if core := os.Getenv("UKDUMP_COPY"); core != "" {
		vmcorePath = core
		os.Exit(runCopy(0, os.Args[1:]))
	}
	os.Exit(m.Run())
}

// fakeSeal is RoleSeal with a simple cipher, and with the fault mode.
func fakeSeal(mode, op string) int {
	b, _ := io.ReadAll(os.Stdin)
	cipher := func(b []byte) []byte {
		for i := range b {
			b[i] ^= 0x55
		}
		return b
	}
	sink := os.NewFile(4, "sink")
	committed := func() bool {
		c := make([]byte, 1)
		n, _ := os.NewFile(ControlFD, "control").Read(c)
		return n == 1
	}
	if mode == "refuses" {
		fmt.Println("no random numbers")
		return 1
	}
	out := cipher(b)
	sink.Write(out)
	if op == "file" {
		if !committed() {
			return 1
		}
		return 0
	}
	crc, size := crc32.Checksum(out, crc32.MakeTable(crc32.Castagnoli)), len(out)
	switch mode {
	case "wrong checksum":
		crc++
	case "short file":
		size++
	case "long file":
		size--
	case "garbage":
		fmt.Println("not a dump")
		return ExitStream
	case "ends":
		return 0
	case "dies":
		return ExitBroken
	}
	fmt.Println(SayStreamed, "00aa")
	if !committed() {
		return 1
	}
	if mode == "fails late" {
		fmt.Println("input/output error")
		return 1
	}
	fmt.Println(SayProgress, size)
	fmt.Println(SayCRC, crc)
	return 0
}

// sealer makes this test RoleSeal. The fault is that of the first runs, of as many as times.
func sealer(t *testing.T, mode string, times int) (runs func() int) {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	log := filepath.Join(t.TempDir(), "log")
	fakeSelf(t, fmt.Sprintf("echo $2 >>%s\nmode=good\n[ $(grep -c stream %[1]s) -gt %d ] || mode='%s'\nUKDUMP_FAKE=$mode exec %s \"$@\"", log, times, mode, exe))
	return func() int {
		b, _ := os.ReadFile(log)
		return strings.Count(string(b), "stream")
	}
}

func seals(w *worker, report bool) {
	w.plan.Remote = map[string]any{"recipients": []any{"age1"}, "encrypt_report": report}
	w.report.Version, w.report.Outcome = crashdir.ReportVersion, crashdir.Failed
	w.sealPlace()
}

var sealedTests = []struct {
	name    string
	mode    string
	times   int
	then    string // of the first collector
	runs    int
	outcome crashdir.Outcome
}{
	{"good", "good", 0, "cat $f", 1, crashdir.Complete},
	{"wrong checksum", "wrong checksum", 9, "cat $f", 2, crashdir.Incomplete},
	{"wrong checksum once", "wrong checksum", 1, "cat $f", 2, crashdir.Complete},
	{"short file", "short file", 9, "cat $f", 2, crashdir.Incomplete},
	{"long file", "long file", 9, "cat $f", 2, crashdir.Incomplete},
	{"garbage once", "garbage", 1, "cat $f", 2, crashdir.Complete},
	{"dies once", "dies", 1, "cat $f", 2, crashdir.Complete},
	{"dies each time", "dies", 9, "cat $f", maxBroken + 1, crashdir.Incomplete},
	{"ends without a word", "ends", 9, "cat $f", 1, crashdir.Incomplete},
	{"fails after the commit", "fails late", 9, "cat $f", 1, crashdir.Incomplete},
	{"the collector fails in the end", "good", 0, "cat $f; exit 1", 2, crashdir.Complete},
}

func TestSealedDirectory(t *testing.T) {
	for _, tt := range sealedTests {
		t.Run(tt.name, func(t *testing.T) {
			runs := sealer(t, tt.mode, tt.times)
			w := testWorker(t, sh("x", "exit 1"), streams(t, "a", tt.then), streams(t, "b", "cat $f"))
			w.plan.Targets = make([]plan.Target, 2) // another target is left
			seals(w, false)
			err := w.collect()
			w.settle()
			if w.report.Outcome != tt.outcome || (err == nil) != (tt.outcome == crashdir.Complete) || runs() != tt.runs {
				t.Errorf("outcome %s after %d runs, error %v; want %s after %d", w.report.Outcome, runs(), err, tt.outcome, tt.runs)
			}
			d, err := crashdir.Read(w.state.Dir)
			if err != nil || d.Outcome != tt.outcome || !d.Sealed() {
				t.Errorf("on disk: %s %s, %v", d.Outcome, d.Vmcore, err)
			}
			if fileExists(filepath.Join(w.state.Dir, crashdir.Vmcore)) || fileExists(filepath.Join(w.state.Dir, crashdir.Vmcore+crashdir.Suffix)) {
				t.Error("a vmcore is not encrypted")
			}
		})
	}
}

func TestSealedRaw(t *testing.T) {
	for _, tt := range sealedTests {
		t.Run(tt.name, func(t *testing.T) {
			runs := sealer(t, tt.mode, tt.times)
			w, r := rawWorker(t, sh("x", "exit 1"), streams(t, "a", tt.then), streams(t, "b", "cat $f"))
			w.plan.Targets = make([]plan.Target, 2)
			seals(w, false)
			err := w.collect()
			w.settle()
			if w.report.Outcome != tt.outcome || (err == nil) != (tt.outcome == crashdir.Complete) || runs() != tt.runs {
				t.Errorf("outcome %s after %d runs, error %v; want %s after %d", w.report.Outcome, runs(), err, tt.outcome, tt.runs)
			}
			if err := w.place.close(); err != nil {
				t.Error(err)
			}
			dev, err := os.Open(r.path)
			if err != nil {
				t.Fatal(err)
			}
			defer dev.Close()
			d, err := rawdump.Open(dev, 32<<20)
			if err != nil || d.Stream.Complete != (tt.outcome == crashdir.Complete) {
				t.Errorf("on the device: %+v, %v", d.Stream, err)
			}
		})
	}
}

// A worker dies while it waits for the last bytes: nobody knows the checksum any more, so
// the collector runs again.
func TestSealedResume(t *testing.T) {
	runs := sealer(t, "good", 0)
	w := testWorker(t, streams(t, "a", "cat $f"))
	seals(w, false)
	w.report.Attempts, w.state.Collector = []crashdir.Attempt{{Name: "a", Phase: crashdir.Verifying}}, 1
	if err := w.collect(); err != nil || !w.place.whole() || runs() != 1 {
		t.Errorf("%v, %d runs", err, runs())
	}
}

// The full report is encrypted, and the other has no text that the crashed kernel or a
// program could have put there.
func TestSealedReport(t *testing.T) {
	sealer(t, "good", 0)
	w := testWorker(t)
	seals(w, true)
	r := w.report
	r.Panic = crashdir.Panic{Line: "secret", Cause: "secret", IP: "secret", Trace: []string{"secret"}}
	r.Errors, r.Warnings = []string{"secret"}, []string{"secret"}
	r.Attempts = []crashdir.Attempt{{Name: "a", Stderr: "secret", Error: "secret"}, {Name: "b"}}
	r.Steps = []crashdir.Step{{Name: "dmesg", Error: "secret"}}
	r.Kernel, r.Test, r.Host, r.At = "6.1.0", "token", "web1", "sftp://x"
	if err := w.writeReport(); err != nil {
		t.Fatal(err)
	}
	public, err := os.ReadFile(filepath.Join(w.state.Dir, crashdir.ReportFile))
	if err != nil || strings.Contains(string(public), "secret") {
		t.Errorf("%v: %s", err, public)
	}
	got, err := crashdir.ParseReport(public)
	if err != nil || got.Kernel != "6.1.0" || got.Test != "token" || got.Host != "web1" || got.At != "sftp://x" || len(got.Attempts) != 2 || got.Attempts[1].Error != "" {
		t.Errorf("%+v, %v", got, err)
	}
	if r.Attempts[0].Stderr != "secret" || r.Steps[0].Error != "secret" || r.Panic.Line != "secret" {
		t.Error("the report of the worker was changed")
	}
	secret, err := os.ReadFile(filepath.Join(w.state.Dir, crashdir.ReportFile+crashdir.Sealed))
	for i := range secret {
		secret[i] ^= 0x55
	}
	if err != nil || !strings.Contains(string(secret), "secret") {
		t.Errorf("the encrypted report: %v, %s", err, secret)
	}
}

// Logs are encrypted in directories, on raw devices, and in directories for evidence alike.
// The beginning of one keeps the name of a file that is not whole.
func TestSealedLog(t *testing.T) {
	const text = "Kernel panic"
	for _, bad := range []error{nil, errors.New("bad memory")} {
		sealer(t, "good", 0)
		write := func(w io.Writer) error { io.WriteString(w, text); return bad }
		w := testWorker(t)
		seals(w, true)
		for _, name := range []string{crashdir.Dmesg, crashdir.CaptureLog} {
			if err := w.place.writeFile(name, write); (err == nil) != (bad == nil) {
				t.Errorf("%s: %v", name, err)
			}
			suffix := crashdir.Sealed
			if bad != nil {
				suffix += crashdir.Suffix
			}
			if n := fileSize(filepath.Join(w.state.Dir, name+suffix)); n != int64(len(text)) {
				t.Errorf("%s%s has %d bytes", name, suffix, n)
			}
			if fileExists(filepath.Join(w.state.Dir, name)) || fileExists(filepath.Join(w.state.Dir, name+crashdir.Suffix)) {
				t.Errorf("%s is not encrypted", name)
			}
		}

		w, r := rawWorker(t)
		seals(w, true)
		if err := w.place.writeFile(crashdir.Dmesg, write); (err == nil) != (bad == nil) {
			t.Errorf("raw: %v", err)
		}
		w.report.Panic.Line = text
		if err := w.writeReport(); err != nil {
			t.Error(err)
		}
		if err := w.place.close(); err != nil {
			t.Error(err)
		}
		b, err := os.ReadFile(r.path)
		if err != nil || strings.Contains(string(b), text) {
			t.Errorf("the device has the log, %v", err)
		}
		if fileExists(sealedTemp) {
			t.Error("the temporary file is left")
		}
	}
}

// Without ENCRYPT_REPORT, only the vmcore is encrypted.
func TestSealedVmcoreAlone(t *testing.T) {
	sealer(t, "refuses", 9)
	w := testWorker(t)
	seals(w, false)
	if err := w.writeReport(); err != nil || !fileExists(filepath.Join(w.state.Dir, crashdir.ReportFile)) {
		t.Error(err)
	}
	if fileExists(filepath.Join(w.state.Dir, crashdir.ReportFile+crashdir.Sealed)) {
		t.Error("the report is encrypted")
	}
}
