package capture

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"ukdump/internal/crashdir"
	"ukdump/internal/makedumpfile"
	"ukdump/internal/plan"
)

// Whether a collector goes on, by its progress.
func TestLate(t *testing.T) {
	const hour = time.Hour
	for _, tt := range []struct {
		name          string
		left          time.Duration // when it began to copy
		elapsed       time.Duration
		from, percent float64
		quick         bool // another collector is quicker
		filters       bool // it filters
		unconfirmed   int
		want          string // in the reason
	}{
		{"not begun", hour, hour / 2, 0, 0, true, false, 0, ""},
		{"fast", hour, 5 * time.Minute, 0, 10, true, false, 0, ""},
		{"too early to say", hour, 2 * time.Minute, 0, 1, true, false, 0, ""},
		{"too little progress to say", hour, 5 * time.Minute, 0, 0.9, true, false, 0, ""},
		{"slow", hour, 5 * time.Minute, 0, 5, true, false, 0, "it needs another 1h35m0s and has 55m0s"},
		{"nearly fast enough, a quicker one", hour, 30 * time.Minute, 0, 49, true, false, 0, "it needs another 31m13s and has 30m0s"},
		{"nearly fast enough, no other", hour, 30 * time.Minute, 0, 49, false, false, 0, ""},
		{"more than half, no other", hour, 31 * time.Minute, 0, 27, false, false, 0, ""},
		{"less than half, no other", hour, 31 * time.Minute, 0, 20, false, false, 0, "it needs another 2h4m0s and has 29m0s"},
		{"less than half, no other, half of the time left", hour, 29 * time.Minute, 0, 2, false, false, 0, ""},
		{"a day, an hour seen", 26 * hour, hour, 0, 1.2, true, false, 0, ""},
		{"a day, two hours seen", 26 * hour, 2 * hour, 0, 4, true, false, 0, "it needs another 48h0m0s and has 24h0m0s"},
		{"continued, fast", hour, 5 * time.Minute, 50, 60, true, false, 0, ""},
		{"continued, slow", hour, 5 * time.Minute, 50, 51, true, false, 0, "it needs another 4h5m0s"},
		{"the percentage of another phase", hour, 30 * time.Minute, 50, 0, true, false, 0, ""},
		{"the quicker one filters, which is known to fail", hour, 10 * time.Minute, 0, 12, true, true, 1, ""},
		{"a minute in all, too early", time.Minute, 5 * time.Second, 0, 2, true, false, 0, ""},
		{"a minute in all", time.Minute, 6 * time.Second, 0, 2, true, false, 0, "it needs another 4m54s and has 54s"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			list := []plan.Collector{{Name: "a"}, {Name: "b"}}
			if tt.quick {
				list = append(list, plan.Collector{Name: "c", Quick: true, Filters: tt.filters})
			}
			w := testWorker(t, list...)
			w.state.Collector, w.state.Unconfirmed, w.percent = 1, tt.unconfirmed, tt.percent
			now := uptime()
			w.end = now + tt.left - tt.elapsed
			got := w.late(&pace{copies: tt.percent > 0, begin: now - tt.elapsed, from: tt.from})
			if (got == "") != (tt.want == "") || !strings.Contains(got, tt.want) {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

// Copying counts from its beginning: the search for pages may be long.
func TestPace(t *testing.T) {
	const search, copying = "Excluding unnecessary pages", "Copying data"
	const unknown = -time.Second
	type shown struct {
		at      time.Duration
		phase   string
		percent float64
	}
	for _, tt := range []struct {
		name      string
		continues bool
		shown     []shown // since the start
		now       time.Duration
		need      time.Duration // or unknown
	}{
		{"nothing shown", false, nil, time.Minute, unknown},
		{"search", false, []shown{{time.Second, search, 50}}, time.Minute, unknown},
		{"copying has just begun", false, []shown{{20 * time.Second, search, 100}, {20 * time.Second, copying, 0}}, time.Minute, unknown},
		{"copying behind a long search", false, []shown{{20 * time.Minute, search, 100}, {20 * time.Minute, copying, 0}, {20*time.Minute + 6*time.Second, copying, 1}}, 20*time.Minute + 6*time.Second, 594 * time.Second},
		{"its beginning was not shown", false, []shown{{20 * time.Second, search, 100}, {25 * time.Second, copying, 1}}, 26 * time.Second, 594 * time.Second},
		{"no search", false, []shown{{5 * time.Second, copying, 0.1}, {time.Minute, copying, 10}}, time.Minute, 9 * time.Minute},
		{"search between two parts", false, []shown{{0, copying, 0}, {30 * time.Second, copying, 5}, {45 * time.Second, search, 5}, {time.Minute, copying, 10}}, time.Minute, 9 * time.Minute},
		{"search of the second part", false, []shown{{0, copying, 0}, {30 * time.Second, copying, 5}, {45 * time.Second, search, 5}}, time.Minute, unknown},
		{"continued", true, []shown{{time.Second, copying, 50}, {11 * time.Second, copying, 60}}, 11 * time.Second, 40 * time.Second},
		{"continued, no progress yet", true, []shown{{time.Second, copying, 50}}, 11 * time.Second, unknown},
		{"done", false, []shown{{0, copying, 0}, {time.Minute, copying, 100}}, time.Minute, 0},
	} {
		p, percent := pace{continues: tt.continues}, 0.0
		for _, s := range tt.shown {
			pr := makedumpfile.Progress{Phase: s.phase, Percent: s.percent}
			p.update(s.at, pr)
			if percent = 0; pr.Copying() {
				percent = s.percent
			}
		}
		need, known := p.need(tt.now, percent)
		if !known {
			need = unknown
		}
		if need.Round(time.Second) != tt.need.Round(time.Second) || known != (tt.need >= 0) {
			t.Errorf("%s: %v, %v, want %v", tt.name, need, known, tt.need)
		}
	}
}

// progressing is a script that does so many tenths of a per cent every 20 ms.
func progressing(tenths string) string {
	return `i=0; while [ $i -le 1000 ]; do printf '\rCopying data : [%d.%d %%]' $((i/10)) $((i%10)) >&2; i=$((i+` + tenths + `)); sleep 0.02; done; `
}

// Which collectors run on a machine whose memory is too large for the time, and which with
// one processor.
func TestLadderSlow(t *testing.T) {
	quick := func(c plan.Collector) plan.Collector { c.Quick = true; return c }
	parallel := func(c plan.Collector) plan.Collector { c.Parallel = true; return c }
	// ladder is what the builder plans for several processors.
	ladder := func(p, a string) []plan.Collector {
		return []plan.Collector{parallel(writes(t, "p", 1, p)), writes(t, "a", 2, a),
			quick(parallel(writes(t, "pq", 3, "true"))), quick(writes(t, "q", 4, "true"))}
	}
	defer func(n int) { processors = n }(processors)
	resumes := func(c plan.Collector) plan.Collector { c.Resumes = true; return c }
	const slow, fast = "1", "100" // 20 s, and less than a second
	for _, tt := range []struct {
		name       string
		processors int
		collectors []plan.Collector
		ran        string
		outcome    crashdir.Outcome
		size       int
	}{
		{"fast enough", 1, []plan.Collector{writes(t, "a", 1, progressing(fast)), quick(writes(t, "q", 2, "true"))}, "a", crashdir.Complete, 1},
		{"slow", 1, []plan.Collector{writes(t, "a", 1, progressing(slow)), writes(t, "b", 3, "true"), quick(writes(t, "q", 2, "true"))}, "a q", crashdir.Complete, 2},
		{"fails, and the next is slow", 1, []plan.Collector{writes(t, "a", 1, "exit 1"), writes(t, "b", 3, progressing(slow)), quick(writes(t, "q", 2, "true"))}, "a b q", crashdir.Complete, 2},
		{"fails, and no other is slow", 1, []plan.Collector{writes(t, "a", 1, "exit 1"), quick(writes(t, "q", 2, "true"))}, "a", crashdir.Incomplete, 1},
		{"all slow", 1, []plan.Collector{writes(t, "a", 1, progressing(slow)), quick(writes(t, "q", 2, progressing(slow)))}, "a q", crashdir.Incomplete, 2},
		{"slow, and no other", 1, []plan.Collector{writes(t, "a", 1, progressing(slow))}, "a", crashdir.Incomplete, 1},
		{"slow, and could go on", 1, []plan.Collector{resumes(writes(t, "copy", 1, progressing(slow))), quick(writes(t, "q", 2, "true"))}, "copy q", crashdir.Complete, 2},
		{"two processors", 2, ladder("true", "true"), "p", crashdir.Complete, 1},
		{"two processors, the first fails", 2, ladder("exit 1", "true"), "p a", crashdir.Complete, 2},
		{"two processors, the first is slow", 2, ladder(progressing(slow), "true"), "p pq", crashdir.Complete, 3},
		{"one processor of two", 1, ladder("true", "true"), "a", crashdir.Complete, 2},
		{"one processor of two, and slow", 1, ladder("true", progressing(slow)), "a q", crashdir.Complete, 4},
	} {
		t.Run(tt.name, func(t *testing.T) {
			processors = tt.processors
			w := testWorker(t, tt.collectors...)
			w.end = uptime() + 5*time.Second
			w.collect()
			w.settle()
			var ran []string
			for i, a := range w.report.Attempts {
				ran = append(ran, a.Name)
				if a.Slow != strings.Contains(a.Error, "too slow to end in time") {
					t.Errorf("attempt %d: slow %v, error %q", i, a.Slow, a.Error)
				}
			}
			if got := strings.Join(ran, " "); got != tt.ran || w.report.Outcome != tt.outcome {
				t.Errorf("ran %s, %s; want %s, %s", got, w.report.Outcome, tt.ran, tt.outcome)
			}
			if want := int64(len(elfCore()) + tt.size); tt.outcome == crashdir.Complete && w.report.Vmcore != want {
				t.Errorf("vmcore of %d bytes, want %d", w.report.Vmcore, want)
			}
		})
	}
}

// The real copy of a machine with 1 TiB, of which almost all is zero, in a minute.
func TestLadderLarge(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	copies := plan.Collector{Name: "copy", Resumes: true, Argv: []string{"/bin/sh", "-c", `UKDUMP_COPY=$1 exec "$2" "$3" "$4"`, "sh", plan.VmcoreArg, self, plan.LimitArg, plan.OutputArg}}
	quick := writes(t, "q", 2, "true")
	quick.Quick = true
	w := testWorker(t, copies, quick)
	if err := os.Truncate(vmcorePath, 1<<40); err != nil {
		t.Skipf("this file system has no files of 1 TiB: %v", err)
	}
	w.end = uptime() + time.Minute
	w.plan.Deadlines.Stall = 60
	if err := w.collect(); err != nil {
		t.Fatal(err)
	}
	if a := w.report.Attempts; len(a) != 2 || !a[0].Slow || a[0].Percent < 1 || !strings.HasPrefix(a[0].Error, "too slow to end in time") || a[1].Error != "" {
		t.Errorf("attempts %+v", a)
	}
}

// The copy tells its progress in tenths, so that TiB are seen to move.
func TestCopyProgressInTenths(t *testing.T) {
	name := filepath.Join(t.TempDir(), "vmcore")
	if err := os.WriteFile(name, elfCore(), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(name, 512<<20); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var say strings.Builder
	c := &copier{in: f, size: 512 << 20, left: 1 << 30, say: &say, out: nullWriter{}}
	if err := c.copy(0); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"[0.1 %]", "[33.3 %]", "[100.0 %]"} {
		if !strings.Contains(say.String(), want) {
			t.Errorf("no %s", want)
		}
	}
}

type nullWriter struct{}

func (nullWriter) WriteAt(b []byte, _ int64) (int, error) { return len(b), nil }
