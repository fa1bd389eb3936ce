package verify

import (
	"fmt"
	"time"

	"ukdump/internal/cli"
	"ukdump/internal/state"
)

// Tested is the last kdumpctl test, compared with the loaded set.
type Tested struct {
	Holds bool   `json:"holds"`           // it passed, and it is about this set
	Doubt string `json:"doubt,omitempty"` // why it does not hold
	*state.Test
}

// LastTest reads the last test and compares it with rec, the set that is loaded now, which
// may be nil.
func LastTest(st state.Store, rec *state.LoadRecord) *Tested {
	t, err := st.LastTest()
	switch {
	case err != nil:
		return &Tested{Doubt: err.Error()}
	case t == nil:
		return &Tested{Doubt: "kdumpctl test was not run"}
	}
	l := &Tested{Test: t}
	switch {
	case t.Result == state.TestPending && t.Boot == st.BootID():
		l.Doubt = "the machine is about to crash for it"
	case t.Result == state.TestPending:
		l.Doubt = "its result is not announced yet"
	case t.Result == state.TestFailed:
		l.Doubt = "it FAILED: " + t.Why
	case rec == nil:
		l.Doubt = "the tested set is not loaded now"
	case !rec.Matches(t.KernelID, t.ImageID, t.Cmdline, t.Keys):
		l.Doubt = "another set was loaded since"
	case t.Running != st.Running():
		l.Doubt = "tested under another running kernel, " + t.Running
	default:
		l.Holds = true
	}
	return l
}

// String describes l to people, in one line.
func (l *Tested) String() string {
	if l.Test == nil {
		return "no: " + l.Doubt
	}
	at := l.Time.UTC().Format(time.RFC3339)
	if !l.Holds {
		return "no: " + at + ": " + l.Doubt
	}
	return fmt.Sprintf("%s, passed in %.0f s with %s of memory to spare (the loaded image)", at, l.Seconds, cli.Size(l.Spare))
}
