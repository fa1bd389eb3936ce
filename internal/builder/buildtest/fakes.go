package buildtest

import (
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

// Keyring has logon keys by their descriptions. It stands for the kernel's keyrings in
// a cryptkeys.Handover.
type Keyring map[string]bool

// Enter implements the interface of cryptkeys.
func (r Keyring) Enter() (func(), error) { return func() {}, nil }

// Find implements the interface of cryptkeys.
func (r Keyring) Find(description string) error {
	if !r[description] {
		return unix.ENOKEY
	}
	return nil
}

// Add implements the interface of cryptkeys.
func (r Keyring) Add(description string, secret []byte) error { return nil }

// MemUsage returns the table that makedumpfile --mem-usage of a Debian release printed
// for the kernel of that release.
func MemUsage(t testing.TB, release string) []byte {
	t.Helper()
	b, err := os.ReadFile("../makedumpfile/memusage/testdata/debian-" + release + ".txt")
	if err != nil {
		t.Fatal(err)
	}
	return b
}
