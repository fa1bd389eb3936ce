// Package dumptest finds real dumps for the tests of other packages.
package dumptest

import (
	"os"
	"path/filepath"
	"testing"
)

// Real returns the paths of the vmcores of crashed machines: each lies in a directory of its
// own, below the one that the environment variable UKDUMP_VMCORES names. The test is skipped
// if that is not set. It fails if no vmcore is there.
func Real(t testing.TB) []string {
	t.Helper()
	dir := os.Getenv("UKDUMP_VMCORES")
	if dir == "" {
		t.Skip("UKDUMP_VMCORES is not set")
	}
	names, err := filepath.Glob(filepath.Join(dir, "*", "vmcore"))
	if err != nil || len(names) == 0 {
		t.Fatalf("no vmcore in %s", dir)
	}
	return names
}
