package ctl

import (
	"os"
	"path/filepath"
	"testing"
)

// The files that a killed verify has unpacked take space until the next load.
func TestSweepUnpacked(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	m.Write("var/lib/ukdump/.verify-1/bin/makedumpfile", "x")
	m.load()
	if _, err := os.Stat(filepath.Join(m.Root, "var/lib/ukdump/.verify-1")); err == nil {
		t.Error("it is still there")
	}
}
