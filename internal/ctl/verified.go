package ctl

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"ukdump/internal/builder"
)

// verified is what kdumpctl verify found out last.
type verified struct {
	Time     time.Time `json:"time"`
	Running  string    `json:"running_release"` // kernel whose crash it is about, as uname -r prints it
	Image    string    `json:"image,omitempty"` // where the image was read
	ImageID  string    `json:"image_sha256,omitempty"`
	KernelID string    `json:"kernel_sha256,omitempty"` // of the capture kernel that was loaded then
	Cmdline  string    `json:"cmdline,omitempty"`       // of the same
	Keys     []string  `json:"volume_keys,omitempty"`   // that it had, by their descriptions
	Problems []string  `json:"problems,omitempty"`
}

// verifiedStatus is what status tells about it.
type verifiedStatus struct {
	Holds bool   `json:"holds"`         // it is about what is loaded now, and there was no problem
	Why   string `json:"why,omitempty"` // it does not
	*verified
}

func (c *ctl) verifiedFile() string { return filepath.Join(c.root, builder.StateDir, "verified.json") }

func (c *ctl) saveVerified(r *verified) error {
	if err := os.MkdirAll(filepath.Dir(c.verifiedFile()), 0o700); err != nil {
		return err
	}
	return c.saveState(c.verifiedFile(), r)
}

// gatherVerified tells what the last verify is worth for what is loaded now, l,
// which may be nil.
func (c *ctl) gatherVerified(l *loaded) *verifiedStatus {
	r := new(verified)
	err := readState(c.verifiedFile(), maxSetFile, r)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return &verifiedStatus{Why: "kdumpctl verify was not run"}
	case err != nil:
		return &verifiedStatus{Why: err.Error()}
	}
	s := &verifiedStatus{verified: r}
	switch n := len(r.Problems); {
	case n == 1:
		s.Why = r.Problems[0]
	case n > 1:
		s.Why = fmt.Sprintf("%d problems, the first: %s", n, r.Problems[0])
	case l == nil:
		s.Why = "what was proven is not loaded now"
	case r.ImageID != l.ImageID || r.KernelID != l.KernelID || r.Cmdline != l.Cmdline || !slices.Equal(r.Keys, descriptions(l.Keys)):
		s.Why = "something else was loaded since"
	case r.Running != c.read("proc/sys/kernel/osrelease"):
		s.Why = "it was proven for the crash of another kernel, " + r.Running
	default:
		s.Holds = true
	}
	return s
}

// line describes s to people.
func (s *verifiedStatus) line() string {
	if s.verified == nil {
		return "no: " + s.Why
	}
	at := s.Time.UTC().Format(time.RFC3339)
	if !s.Holds {
		return "no: " + at + ": " + s.Why
	}
	return fmt.Sprintf("%s, image sha256:%.12s… (the loaded one)", at, s.ImageID)
}
