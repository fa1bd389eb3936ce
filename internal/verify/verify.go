package verify

import (
	"fmt"
	"strings"
	"time"

	"ukdump/internal/advice"
	"ukdump/internal/builder"
	"ukdump/internal/config"
	"ukdump/internal/load"
	"ukdump/internal/plan"
	"ukdump/internal/state"
)

// Severity is how bad a finding is.
type Severity string

// The severities.
const (
	OK      Severity = "ok"
	Note    Severity = "note"    // not in order, but a crash is saved all the same
	Problem Severity = "PROBLEM" // a crash may not be saved
)

// Finding is the result of one check.
type Finding struct {
	Topic    string
	Severity Severity
	Text     string
	Err      error  // the cause of a problem, else nil
	Advice   string // how to solve a problem, "" if that is not known
}

// Findings is a list that checks add to.
type Findings []Finding

func (l *Findings) ok(topic, format string, a ...any) {
	*l = append(*l, Finding{Topic: topic, Severity: OK, Text: fmt.Sprintf(format, a...)})
}

func (l *Findings) note(topic, format string, a ...any) {
	*l = append(*l, Finding{Topic: topic, Severity: Note, Text: fmt.Sprintf(format, a...)})
}

// Problem adds err, if it is not nil, and reports whether it did.
func (l *Findings) Problem(topic string, err error) bool {
	if err != nil {
		*l = append(*l, Finding{topic, Problem, err.Error(), err, advice.For(err)})
	}
	return err != nil
}

// Problems returns the problems of the list, one line each.
func (l Findings) Problems() (list []string) {
	for _, f := range l {
		if f.Severity == Problem {
			list = append(list, f.Topic+": "+f.Text)
		}
	}
	return list
}

// First returns the first problem, nil if there is none.
func (l Findings) First() *Finding {
	for i := range l {
		if l[i].Severity == Problem {
			return &l[i]
		}
	}
	return nil
}

// Run is one run of verify. The fields below Loader are its results.
type Run struct {
	*load.Loader
	TryWrite func(dir string) error // writes to a directory and leaves nothing there

	Findings
	Stacks []builder.Stack   // of the devices below the targets
	Loaded *state.LoadRecord // nil if nothing is loaded, or the set is not known
	Image  *load.ImageFile   // that was checked; nil if there is none

	conf     *config.Config
	build    *builder.Build  // for this machine as it is now; nil if nothing can be built
	files    map[string]File // of Image, by path
	plan     *plan.Plan      // of Image; nil if it has no valid one
	forecast *state.Forecast // of a dump by the makedumpfile in the image
	began    time.Time       // in whole seconds
	served   []string        // targets at servers that were written to
	taken    bool            // the kernel says that a capture kernel is loaded
	inMemory bool            // the reserved memory has the loaded set
	replaced bool            // something else was loaded over it
}

// Verify makes all checks. A configuration that cannot be read is a problem and the
// error.
func (v *Run) Verify() error {
	v.began = time.Now().Truncate(time.Second)
	var err error
	if v.conf, err = config.Load(v.Root); err != nil {
		v.Problem("configuration", err)
		return err
	}
	o := v.BuildOptions(v.conf)
	v.Stacks, _ = builder.Survey(o) // New has the same error
	v.build, err = builder.New(o)
	if !v.Problem("machine", err) {
		for _, w := range v.build.Warnings {
			v.note("machine", "%s", w)
		}
	}
	v.checkSlot()
	v.checkOmitted()
	v.findImage()
	if v.Image != nil {
		v.checkLoaded()
		v.checkPlan()
		if v.emergency() {
			v.checkSystem()
		} else {
			v.checkFresh()
			v.checkModules()
			v.checkDrivers()
			v.checkPrograms()
		}
		v.checkReservation()
	}
	v.checkTargets()
	v.checkEvents()
	return nil
}

// Result returns the findings as status will read them.
func (v *Run) Result() *state.VerifyResult {
	r := &state.VerifyResult{
		Time: time.Now().UTC().Round(time.Second), Running: v.Store.Running(),
		Problems: v.Problems(),
	}
	if v.conf != nil {
		r.Served = v.lastServed()
	}
	if v.Image != nil {
		r.Image, r.ImageID = v.Image.Path, state.ID(v.Image.Data)
	}
	if v.Loaded != nil {
		r.KernelID, r.Cmdline, r.Keys = v.Loaded.KernelID, v.Loaded.Bare(), v.Loaded.KeyDescriptions()
	}
	return r
}

// firstNames lists the first three of names, or four if those are all.
func firstNames(names []string) string {
	const most = 3
	if len(names) <= most+1 {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), len(names)-most)
}
