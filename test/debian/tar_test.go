package debian

import (
	"archive/tar"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

// A payload that is unpacked again has the tree's files and modes, the files
// that were added and the programs that every guest needs.
func TestPayload(t *testing.T) {
	tree := t.TempDir()
	if err := os.MkdirAll(filepath.Join(tree, "usr/bin"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(tree, "usr/bin/program"), []byte("program"), 0o700); err != nil {
		t.Fatal(err)
	}
	p := Payload{Trees: []string{tree}, Run: "the script"}
	q := p.With("etc/conf", "A=b\n")
	if len(p.Files) != 0 {
		t.Errorf("With changed its receiver: %v", p.Files)
	}
	name, dir := filepath.Join(t.TempDir(), "tar"), t.TempDir()
	if err := q.write(name); err != nil {
		t.Fatal(err)
	}
	if err := unpack(name, dir); err != nil {
		t.Fatal(err)
	}
	for file, want := range map[string]string{
		"usr/bin/program": "program",
		"etc/conf":        "A=b\n",
		"ukdump-test/run": "the script",
	} {
		if b, err := os.ReadFile(filepath.Join(dir, file)); err != nil || string(b) != want {
			t.Errorf("%s: %q, %v", file, b, err)
		}
	}
	for file, want := range map[string]fs.FileMode{
		"usr/bin/program":                        0o700,
		"ukdump-test/init":                       0o755,
		"etc/systemd/system/ukdump-test.service": 0o755,
	} {
		if info, err := os.Stat(filepath.Join(dir, file)); err != nil {
			t.Error(err)
		} else if info.Mode().Perm() != want {
			t.Errorf("%s has mode %o, want %o", file, info.Mode().Perm(), want)
		}
	}
}

// The files of a guest are untrusted input.
func TestUnpackStaysInside(t *testing.T) {
	for _, bad := range []string{"../outside", "/outside/../../outside", "a/../../outside"} {
		dir := t.TempDir()
		name := filepath.Join(dir, "tar")
		f, err := os.Create(name)
		if err != nil {
			t.Fatal(err)
		}
		w := tar.NewWriter(f)
		if err := addFile(w, bad, "x"); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		f.Close()
		inside := filepath.Join(dir, "inside")
		if err := os.Mkdir(inside, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := unpack(name, inside); err == nil {
			t.Errorf("%s was unpacked", bad)
		}
		if _, err := os.Stat(filepath.Join(dir, "outside")); err == nil {
			t.Errorf("%s was written outside", bad)
		}
	}
}
