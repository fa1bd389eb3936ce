package capture

import (
	"encoding/json"
	"fmt"
	"os"
	"reflect"
	"strings"
	"testing"

	"ukdump/internal/crashdir"
)

// reword replaces every sentence that a worker has put into its report.
func reword(r *crashdir.Report) {
	for i := range r.Steps {
		r.Steps[i].Error = strings.Repeat("s", len(r.Steps[i].Error)%7)
	}
	for i := range r.Attempts {
		r.Attempts[i].Error = fmt.Sprintf("attempt %d", i)
	}
	for i := range r.Errors {
		r.Errors[i] = fmt.Sprintf("error %d", i)
	}
	for i := range r.Warnings {
		r.Warnings[i] = fmt.Sprintf("warning %d", i)
	}
}

// attempted returns a worker whose first collector has run and left a whole
// vmcore, in that phase. The second collector fails.
func attempted(t *testing.T, phase crashdir.Phase, text string) *worker {
	t.Helper()
	w := testWorker(t, sh("a", "exit 1"), sh("b", "exit 1"))
	if err := os.WriteFile(w.place.(*directory).output(), append(elfCore(), 'x'), 0o600); err != nil {
		t.Fatal(err)
	}
	w.report.Attempts = []crashdir.Attempt{{Name: "a", Phase: phase, Error: text}}
	w.state.Collector = 1
	return w
}

// decisions returns the part of a state by which a worker goes on.
func decisions(st *state) string {
	c := *st
	c.Report.Errors, c.Report.Warnings, c.Report.Steps = nil, nil, nil
	c.Report.Attempts = append([]crashdir.Attempt(nil), c.Report.Attempts...)
	for i := range c.Report.Attempts {
		a := &c.Report.Attempts[i]
		a.Error, a.Seconds = "", 0
	}
	c.Report.LowestMem = 0
	if c.Dir != "" {
		c.Dir = "DIR"
	}
	b, _ := json.Marshal(c)
	return string(b)
}

// A worker that follows one that died decides by codes, never by messages: it does
// the same when every sentence in the state reads differently.
func TestResumeWithOtherWords(t *testing.T) {
	phases := []crashdir.Phase{"", crashdir.Running, crashdir.Verifying, crashdir.VerifyingAgain}
	steps := []step{"", stepLog, stepModules, stepAssemble, stepDevice, stepMount, stepDirectory, stepHeader, stepDmesg, stepVmcore, stepCaptureLog, stepReport, stepUmount}
	texts := map[crashdir.Phase]string{crashdir.Running: unfinished, crashdir.Verifying: unverified, crashdir.VerifyingAgain: unverifiedTwice}
	for _, s := range steps {
		for _, phase := range phases {
			for _, stuck := range []bool{false, true} {
				var results [2][]string
				for i := range results {
					w := attempted(t, phase, texts[phase])
					w.state.Begun, w.state.LogBegun = true, true
					w.warn("a warning")
					for death := range 3 {
						w.place, w.stuck, w.state.Step = nil, stuck && death > 0, s
						w.report.Steps = []crashdir.Step{{Name: string(s), Error: "no such device"}}
						if i == 1 {
							reword(w.report)
						}
						again := w.resume()
						results[i] = append(results[i], fmt.Sprintf("%q %s", again, decisions(w.state)))
					}
				}
				if !reflect.DeepEqual(results[0], results[1]) {
					t.Errorf("step %q, attempt %q, stuck %v: other words change\n%q\nto\n%q", s, phase, stuck, results[0], results[1])
				}
			}
		}
	}
}

// The collectors that run after a death, and the use of the output of the
// attempt before.
func TestCollectWithOtherWords(t *testing.T) {
	for _, tt := range []struct {
		phase   crashdir.Phase
		outcome crashdir.Outcome
		ran     int
	}{
		{crashdir.Running, crashdir.Incomplete, 2},
		{crashdir.Verifying, crashdir.Complete, 1},
		{crashdir.VerifyingAgain, crashdir.Incomplete, 2},
	} {
		for _, text := range []string{unfinished, unverified, unverifiedTwice, "any other text", ""} {
			w := attempted(t, tt.phase, text)
			w.collect()
			if w.report.Outcome != tt.outcome || len(w.report.Attempts) != tt.ran {
				t.Errorf("%s, %q: outcome %s after %d attempts", tt.phase, text, w.report.Outcome, len(w.report.Attempts))
			}
		}
	}
}
