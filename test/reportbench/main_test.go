package main

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"ukdump/internal/debug/debugtest"
	"ukdump/internal/dumpfile"
)

// A larger dump has the header, the bitmaps and the pages of one.
func TestGrow(t *testing.T) {
	small := filepath.Join(t.TempDir(), "small")
	if err := os.WriteFile(small, debugtest.Dump("amd64", "6.1.0", "#1", "OSRELEASE=6.1.0\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(small)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	const frames, own = 8 * gib / 4096, 1
	large := filepath.Join(t.TempDir(), "large")
	pages, err := write(large, f, 8*gib)
	if want := uint64(own + (frames-128)/each); err != nil || pages != want {
		t.Fatalf("%d pages, %v, want %d", pages, err, want)
	}
	file, err := os.ReadFile(large)
	if err != nil {
		t.Fatal(err)
	}
	r := bytes.NewReader(file)
	h, err := dumpfile.ReadHeader(r)
	if err != nil {
		t.Fatal(err)
	}
	if n, err := h.Pages(r); n != pages || err != nil || h.Layout().Pages != frames || h.Release != "6.1.0" {
		t.Errorf("%d pages of %d frames, %v", n, h.Layout().Pages, err)
	}
	if info, err := h.Info(r); err != nil || info.Release() != "6.1.0" {
		t.Errorf("VMCOREINFO %v, %v", info, err)
	}
	if _, err := dumpfile.VerifyFile(large); err != nil {
		t.Error(err)
	}
}
