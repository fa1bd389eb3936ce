package verify

import (
	"errors"
	"fmt"
	"io/fs"
	"time"

	"ukdump/internal/state"
)

// Last is the result of the last verify, compared with the loaded set.
type Last struct {
	Holds bool   `json:"holds"`         // it is about this set, and there was no problem
	Why   string `json:"why,omitempty"` // it does not hold
	*state.VerifyResult
}

// LastResult reads the last result and compares it with rec, the set that is loaded
// now, which may be nil.
func LastResult(st state.Store, rec *state.LoadRecord) *Last {
	r, err := st.Verified()
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return &Last{Why: "kdumpctl verify was not run"}
	case err != nil:
		return &Last{Why: err.Error()}
	}
	l := &Last{VerifyResult: r}
	switch n := len(r.Problems); {
	case n == 1:
		l.Why = r.Problems[0]
	case n > 1:
		l.Why = fmt.Sprintf("%d problems, the first: %s", n, r.Problems[0])
	case rec == nil:
		l.Why = "the verified set is not loaded now"
	case !rec.Matches(r.KernelID, r.ImageID, r.Cmdline, r.Keys):
		l.Why = "another set was loaded since"
	case r.Running != st.Running():
		l.Why = "verified under another running kernel, " + r.Running
	default:
		l.Holds = true
	}
	return l
}

// String describes l to people, in one line.
func (l *Last) String() string {
	if l.VerifyResult == nil {
		return "no: " + l.Why
	}
	at := l.Time.UTC().Format(time.RFC3339)
	if !l.Holds {
		return "no: " + at + ": " + l.Why
	}
	return fmt.Sprintf("%s, image sha256:%.12s… (the loaded one)", at, l.ImageID)
}
