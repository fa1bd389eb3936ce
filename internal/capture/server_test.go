package capture

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"ukdump/internal/crashdir"
	"ukdump/internal/plan"
)

// fakeSelf makes a shell script of this program. Its arguments are those of a role.
func fakeSelf(t *testing.T, script string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "self")
	if err := os.WriteFile(file, []byte("#!/bin/sh\n"+script+"\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	self, serverState, sealedTemp, remote, brokenPause = file, file+".json", file+".age", netFuncs(), 0
	t.Cleanup(func() {
		self, serverState, sealedTemp, remote, brokenPause = "/init", "/run/ukdump/server.json", "/run/ukdump/sealed", nil, 5*time.Second
	})
}

// sender is a RoleSend, $out the directory at the server and $run the number of this
// stream. stream is the script of the operation stream.
func sender(t *testing.T, stream string) (out string) {
	t.Helper()
	out = t.TempDir()
	fakeSelf(t, "out="+out+`
committed() { [ "$(head -c 1 <&3)" = c ]; }
take() { cat >$out/part; echo "progress $(wc -c <$out/part)"; }
good() { take; echo streamed 00aa; committed || exit 1; mv $out/part $out/vmcore; }
echo "$4" >>$out/log
case $4 in
create) echo dir m/1;;
put) cat >$out/$5; committed || mv $out/$5 $out/$5-incomplete;;
stream)
	run=$(grep -c stream $out/log)
	`+stream+`;;
esac`)
	return out
}

func serverWorker(t *testing.T, collectors ...plan.Collector) (*worker, *server) {
	t.Helper()
	w := testWorker(t, collectors...)
	w.plan.Targets = []plan.Target{{Kind: plan.Server, Dir: "sftp://dump@backup/srv"}}
	w.plan.Deadlines.Device, w.plan.Deadlines.Stall, w.plan.Deadlines.Mount = 1, 1, 1
	r := &server{w: w, state: serverFile{Dir: "m/1"}}
	w.place, w.state.Raw, w.state.Dir = r, serverName+w.plan.Targets[0].Dir, ""
	return w, r
}

// count returns how often an operation was asked for.
func count(t *testing.T, out, op string) (n int) {
	t.Helper()
	b, _ := os.ReadFile(filepath.Join(out, "log"))
	for line := range strings.Lines(string(b)) {
		if line == op+"\n" {
			n++
		}
	}
	return n
}

func TestServerLadder(t *testing.T) {
	cat := streams(t, "a", "cat $f")
	second := streams(t, "b", "cat $f")
	tests := []struct {
		name       string
		stream     string
		collectors []plan.Collector
		streams    int
		outcome    crashdir.Outcome
		err        string
	}{
		{"good", "good", []plan.Collector{cat, second}, 1, crashdir.Complete, ""},
		{"talks a lot", "yes '' | head -n 5000; yes 'log x' | head -n 500; head -c 200000 /dev/zero | tr '\\0' x; echo; good", []plan.Collector{cat}, 1, crashdir.Complete, ""},
		{"refuses", "echo no room; exit 1", []plan.Collector{cat, second}, 1, crashdir.Failed, "no room"},
		{"refuses after a part", "head -c 5000 >/dev/null; echo progress 5000; echo no room; exit 1", []plan.Collector{cat, second}, 1, crashdir.Incomplete, "no room"},
		{"breaks each time", "echo reset; exit 3", []plan.Collector{cat, second}, maxBroken + 1, crashdir.Failed, "connection lost: reset"},
		{"breaks once", "[ $run -gt 1 ] || exit 3; good", []plan.Collector{cat}, 2, crashdir.Complete, ""},
		{"dies once", "[ $run -gt 1 ] || kill -9 $$; good", []plan.Collector{cat}, 2, crashdir.Complete, ""},
		{"dies each time", "kill -9 $$", []plan.Collector{cat}, maxBroken + 1, crashdir.Failed, "signal 9"},
		{"is silent once, with a small dump", "[ $run -gt 1 ] || exec sleep 60; good", []plan.Collector{cat}, 2, crashdir.Complete, ""},
		{"is silent once, with a large dump", "[ $run -gt 1 ] || exec sleep 60; good", []plan.Collector{streams(t, "a", "cat $f; head -c 200000 /dev/zero")}, 2, crashdir.Complete, ""},
		{"crashes", "echo 'panic: index out of range' >&2; echo >&2; echo 'main.go:1 +0x1' >&2; exit 2", []plan.Collector{cat}, 1, crashdir.Failed, "exit status 2: panic: index"},
		{"says no word of the whole", "take", []plan.Collector{cat}, 1, crashdir.Incomplete, "ended before the stream"},
		{"ends at once", "true", []plan.Collector{streams(t, "a", "cat $f; head -c 200000 /dev/zero")}, 1, crashdir.Failed, "exit status"},
		{"fails after the commit", "take; echo streamed 0; committed; echo no rename; exit 1", []plan.Collector{cat, second}, 1, crashdir.Incomplete, "no rename"},
		{"breaks after the commit", "take; echo streamed 0; committed; exit 3", []plan.Collector{cat}, maxBroken + 1, crashdir.Incomplete, "connection lost"},
		{"dies before the commit", "take; echo streamed 0; kill -9 $$", []plan.Collector{cat}, maxBroken + 1, crashdir.Incomplete, "connection lost"},
		{"is silent after the commit", "take; echo streamed 0; committed; [ $run -gt 1 ] || exec sleep 60; mv $out/part $out/vmcore", []plan.Collector{cat}, 2, crashdir.Complete, ""},
		{"finds garbage", "take; echo not a dump; exit 4", []plan.Collector{cat}, 1, crashdir.Incomplete, "not a dump"},
		{"finds garbage of the first", "[ $run -gt 1 ] || { take; exit 4; }; good", []plan.Collector{cat, second}, 2, crashdir.Complete, ""},

		{"the collector fails in the end", "good", []plan.Collector{streams(t, "a", "cat $f; exit 1")}, 1, crashdir.Incomplete, "exit status 1"},
		{"the collector stalls", "good", []plan.Collector{streams(t, "a", "cat $f; sleep 60")}, 1, crashdir.Incomplete, "no progress"},
		{"the first collector fails", "good", []plan.Collector{streams(t, "a", "cat $f; exit 1"), second}, 2, crashdir.Complete, ""},
		{"a collector without a stream", "good", []plan.Collector{sh("x", "true"), second}, 1, crashdir.Complete, ""},
		{"a collector that resumes files", "good", []plan.Collector{{Name: "copy", Resumes: true, Stream: []string{"/bin/sh", "-c", "echo x; exit 1"}}}, 1, crashdir.Incomplete, "exit status 1"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			out := sender(t, tt.stream)
			w, r := serverWorker(t, tt.collectors...)
			err := w.collect()
			w.settle()
			if w.report.Outcome != tt.outcome || (err == nil) != (tt.outcome == crashdir.Complete) || err != nil && !strings.Contains(err.Error(), tt.err) {
				t.Errorf("outcome %s, error %v; want %s, %q", w.report.Outcome, err, tt.outcome, tt.err)
			}
			if n := count(t, out, "stream"); n != tt.streams {
				t.Errorf("%d streams, want %d", n, tt.streams)
			}
			complete := tt.outcome == crashdir.Complete
			if fileExists(filepath.Join(out, "vmcore")) != complete || (w.report.At != "") != complete || r.state.Whole != complete {
				t.Errorf("at the server %v, in the report %q, whole %v", fileExists(filepath.Join(out, "vmcore")), w.report.At, r.state.Whole)
			}
			if complete && (w.report.Vmcore == 0 || w.report.Vmcore != w.lastAttempt().Bytes) {
				t.Errorf("%d bytes in the report, %d in the attempt", w.report.Vmcore, w.lastAttempt().Bytes)
			}
			if n := len(w.report.Warnings); n > maxSaid {
				t.Errorf("%d warnings", n)
			}
			if r.c != nil || r.in != nil {
				t.Error("the sender was not ended")
			}
		})
	}
}

// Parts at S3 are no dump that anybody could read.
func TestServerPartsOfS3(t *testing.T) {
	sender(t, "take; exit 1")
	w, _ := serverWorker(t, streams(t, "a", "cat $f"))
	w.plan.Targets[0].Dir = "s3://bucket"
	w.collect()
	if w.settle(); w.report.Outcome != crashdir.Failed {
		t.Errorf("outcome %s", w.report.Outcome)
	}
}

// Small files are sent again after a broken connection, and the beginning of a log counts.
func TestServerPut(t *testing.T) {
	for _, tt := range []struct {
		name   string
		script string // in place of the sender's
		write  error
		puts   int
		err    string
		logged bool
	}{
		{"good", "", nil, 1, "", true},
		{"breaks each time", "exit 3", nil, maxBroken, "connection lost", false},
		{"refuses", "echo full; exit 1", nil, 1, "vmcore-dmesg.txt: full", false},
		{"is silent", "exec sleep 60", nil, maxBroken, "no progress", false},
		{"the log cannot be read to its end", "", errors.New("bad memory"), 1, "bad memory", true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			out := sender(t, "")
			if tt.script != "" {
				fakeSelf(t, "echo put >>"+out+"/log; "+tt.script)
			}
			w, r := serverWorker(t)
			w.plan.Deadlines.Finish = 1
			err := r.writeFile(crashdir.Dmesg, func(f io.Writer) error {
				f.Write(make([]byte, 300<<10))
				return tt.write
			})
			if (err == nil) != (tt.err == "") || err != nil && !strings.Contains(err.Error(), tt.err) {
				t.Errorf("error %v, want %q", err, tt.err)
			}
			if n := count(t, out, "put"); n != tt.puts || r.state.Logged != tt.logged {
				t.Errorf("%d puts, logged %v; want %d, %v", n, r.state.Logged, tt.puts, tt.logged)
			}
			if tt.write != nil && fileSize(filepath.Join(out, crashdir.Dmesg+crashdir.Suffix)) != 300<<10 {
				t.Error("the beginning of the log is not at the server")
			}
		})
	}
}

// A report that is encrypted has its public part beside it.
func TestServerReport(t *testing.T) {
	out := sender(t, "")
	w, _ := serverWorker(t)
	w.plan.Remote = map[string]any{"recipients": []any{"age1"}, "encrypt_report": true}
	w.report.Panic.Line, w.report.Version, w.report.Outcome = "secret", crashdir.ReportVersion, crashdir.Failed
	if err := w.writeReport(); err != nil {
		t.Fatal(err)
	}
	for name, secret := range map[string]bool{"report.json": false, "report.json.age": true} { // the fake encrypts nothing
		b, err := os.ReadFile(filepath.Join(out, name))
		if err != nil || strings.Contains(string(b), "secret") != secret {
			t.Errorf("%s: %v, %s", name, err, b)
		}
	}
}

func TestLogin(t *testing.T) {
	for _, tt := range []struct{ name, script, err string }{
		{"good", "echo dir m/2", ""},
		{"no directory", "true", "named no directory"},
		{"refused", "echo no such key; exit 1", "no such key"},
		{"broken", "exit 3", "connection lost: exit status 3"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			fakeSelf(t, tt.script)
			w, r := serverWorker(t)
			r.state.Whole = true
			r.save() // of an earlier capture
			w.place, w.state.Raw = nil, ""
			err := w.login(&w.plan.Targets[0])
			if (err == nil) != (tt.err == "") || err != nil && !strings.Contains(err.Error(), tt.err) {
				t.Errorf("error %v, want %q", err, tt.err)
			}
			if (w.state.Raw != "") != (err == nil) || (w.place != nil) != (err == nil) {
				t.Errorf("open %q, place %v", w.state.Raw, w.place)
			}
			// The next worker.
			w.state.Raw, w.place = serverName+"x", nil
			if !w.reopenServer() || (w.place != nil) != (err == nil) || w.place != nil && w.place.whole() {
				t.Errorf("the next worker has %v", w.place)
			}
		})
	}
}

// A worker dies at each point of a dump at a server. The next one trusts only the commit.
func TestServerResume(t *testing.T) {
	for _, tt := range []struct {
		name    string
		state   serverFile
		phase   crashdir.Phase
		step    step
		streams int
	}{
		{"before the vmcore", serverFile{Dir: "m/1"}, "", stepDmesg, 1},
		{"in the collector", serverFile{Dir: "m/1", Begun: true}, crashdir.Running, stepVmcore, 1},
		{"before the commit", serverFile{Dir: "m/1", Begun: true}, crashdir.Verifying, stepVmcore, 1},
		{"after the commit", serverFile{Dir: "m/1", Begun: true, Whole: true, Sum: "00aa", Sent: 9}, crashdir.Verifying, stepVmcore, 0},
		{"in the report", serverFile{Dir: "m/1", Begun: true, Whole: true, Sum: "00aa", Sent: 9}, crashdir.Accepted, stepReport, 0},
		{"of another target", serverFile{Dir: "m/1", Target: 1, Whole: true}, "", stepDirectory, 1},
		{"in the login", serverFile{}, "", stepDirectory, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			out := sender(t, "good")
			w, r := serverWorker(t, streams(t, "a", "cat $f"))
			r.state = tt.state
			r.save()
			w.place, w.state.Step, w.state.Begun, w.state.LogBegun, w.state.Best = nil, tt.step, true, true, crashdir.Failed
			if tt.phase != "" {
				w.report.Attempts, w.state.Collector = []crashdir.Attempt{{Name: "a", Phase: tt.phase}}, 1
			}
			w.run()
			if w.report.Outcome != crashdir.Complete || w.report.At != "sftp://dump@backup/srv/m/1" || w.report.SHA256 != "00aa" {
				t.Errorf("outcome %s at %q, %s: %q", w.report.Outcome, w.report.At, w.report.SHA256, w.report.Errors)
			}
			if n := count(t, out, "stream"); n != tt.streams {
				t.Errorf("%d streams, want %d", n, tt.streams)
			}
		})
	}
}

// A dump of which the server got nothing whole leads to the next target.
func TestServerThenNext(t *testing.T) {
	sender(t, "exit 1")
	w, _ := serverWorker(t, streams(t, "a", "cat $f"))
	w.plan.Targets = append(w.plan.Targets, plan.Target{Kind: plan.Mounted, Dir: "/nowhere", Mount: &plan.SystemMount{Point: "/nowhere"}})
	w.state.Best = crashdir.Failed
	w.run()
	if w.state.Target != 2 || w.report.Outcome == crashdir.Complete {
		t.Errorf("target %d, outcome %s", w.state.Target, w.report.Outcome)
	}
}

// The receipt of a dump at a server has log and report. A target for it that cannot be
// opened is a warning.
func TestReceipt(t *testing.T) {
	sender(t, "good")
	w, _ := serverWorker(t, streams(t, "a", "cat $f"))
	setMemory(t, withLog(t))
	nowhere := plan.Target{Kind: plan.Directory, Dir: "/var/crash", Filesystem: plan.Filesystem{Type: "ext4", UUID: "none"}}
	w.plan.Targets = append(w.plan.Targets, plan.Target{Kind: plan.Raw}, nowhere)
	w.report.Outcome, w.report.Version = crashdir.Complete, crashdir.ReportVersion
	w.writeReceipt()
	if len(w.report.Errors) > 0 || len(w.report.Warnings) == 0 || w.report.At != "sftp://dump@backup/srv/m/1" || w.state.Target != 2 {
		t.Errorf("at %q, errors %q, warnings %q", w.report.At, w.report.Errors, w.report.Warnings)
	}
	// The next worker has the directory that the last one made.
	dir := filepath.Join(t.TempDir(), "2026-11-22T23-04-05Z")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	w.state.Dir, w.state.Raw, w.state.Step, w.state.Begun, w.state.LogBegun, w.state.Best = dir, "", stepDmesg, true, true, crashdir.Complete
	w.mode, w.place = emergency, nil // so that nothing need be mounted
	w.run()
	d, err := crashdir.Read(dir)
	if err != nil || d.At != w.report.At || d.At == "" || d.Outcome != crashdir.DmesgOnly || d.Vmcore != "" || d.Report.Outcome != crashdir.Complete {
		t.Errorf("the receipt is %+v, %v", d, err)
	}
	if w.report.Outcome != crashdir.Complete || len(w.report.Attempts) > 0 {
		t.Errorf("outcome %s after %d attempts", w.report.Outcome, len(w.report.Attempts))
	}
	// A third one lets it be.
	os.Remove(filepath.Join(dir, crashdir.ReportFile))
	w.state.Dir, w.state.Step, w.place = dir, stepReport, nil
	if w.run(); fileExists(filepath.Join(dir, crashdir.ReportFile)) {
		t.Error("written once more")
	}
}

// No receipt of a dump that is here, or that is not complete.
func TestNoReceipt(t *testing.T) {
	sender(t, "good")
	for name, change := range map[string]func(w *worker){
		"incomplete":  func(w *worker) { w.report.Outcome = crashdir.Incomplete },
		"not at all":  func(w *worker) { w.plan = nil },
		"no target":   func(w *worker) { w.state.Target = 2 },
		"in the file": func(w *worker) { w.place = &directory{dir: w.state.Dir, w: w} },
	} {
		w, _ := serverWorker(t)
		w.plan.Targets = append(w.plan.Targets, plan.Target{Kind: plan.Directory})
		w.report.Outcome = crashdir.Complete
		change(w)
		if w.writeReceipt(); len(w.report.Steps) > 0 {
			t.Errorf("%s: steps %v", name, w.report.Steps)
		}
	}
}

// The write ends of the pipes that a child reads stay out of it: with a copy of its own it
// would never read to the end.
func TestCourierDescriptors(t *testing.T) {
	out := filepath.Join(t.TempDir(), "fds")
	fakeSelf(t, "for f in /proc/$$/fd/*; do echo $(readlink $f); done >"+out+"; cat >/dev/null; [ -z \"$(cat <&3 >&4)\" ]")
	w := testWorker(t)
	sink, err := os.Create(filepath.Join(t.TempDir(), "sink"))
	if err != nil {
		t.Fatal(err)
	}
	defer sink.Close()
	write := func(w io.Writer) error { _, err := io.WriteString(w, "x"); return err }
	if _, err := w.runCourier([]string{RoleSeal}, time.Minute, sink, write); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	links := strings.Fields(string(b))
	for _, pipe := range []string{links[0], links[slices.Index(links, sink.Name())-1]} {
		if n := strings.Count(string(b), pipe); n != 1 || !strings.HasPrefix(pipe, "pipe:") {
			t.Errorf("%d descriptors of %s in %q", n, pipe, links)
		}
	}
	if n := fileSize(sink.Name()); n != 1 {
		t.Errorf("%d bytes of descriptor 3, not one", n)
	}
}

// A connection is given up for the next target only if its progress shows that it cannot end
// in time.
func TestTooSlow(t *testing.T) {
	for _, tt := range []struct {
		name    string
		percent float64
		search  time.Duration // before it copied
		elapsed time.Duration // since it copies
		left    time.Duration
		targets int
		want    bool
	}{
		{"fast", 50, 0, time.Minute, 10 * time.Minute, 2, false},
		{"in time", 10, 0, time.Minute, 13 * time.Minute, 2, false},
		{"slow", 10, 0, time.Minute, 11 * time.Minute, 2, true},
		{"slow, no other target", 1, 0, time.Minute, time.Minute, 1, false},
		{"too early to tell", 0.1, 0, 20 * time.Second, time.Minute, 2, false},
		{"not known", 0, 0, time.Minute, time.Minute, 2, false},
		{"fast behind a long search", 10, 5 * time.Minute, time.Minute, 13 * time.Minute, 2, false},
		{"slow behind a long search, the first progress", 0.1, 5 * time.Minute, 2 * time.Second, 30 * time.Minute, 2, true},
		{"slow behind a short search", 2, 25 * time.Second, 5 * time.Second, 5 * time.Minute, 2, true},
	} {
		w := &worker{state: &state{}, plan: &plan.Plan{Targets: make([]plan.Target, tt.targets)}, percent: tt.percent}
		now := uptime()
		w.end = now + tt.left
		r := &server{w: w}
		w.place = r
		if got := w.tooSlow(&pace{copies: true, start: now - tt.elapsed - tt.search, begin: now - tt.elapsed}); got != tt.want || (r.err != nil) != tt.want {
			t.Errorf("%s: %v, %v", tt.name, got, r.err)
		}
	}
}
