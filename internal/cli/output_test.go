package cli

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"ukdump/internal/advice"
)

func TestCheckOutput(t *testing.T) {
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	if err := os.WriteFile(at("file"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mkfifo(at("fifo"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, target := range map[string]string{"null": "/dev/null", "to-dir": ".", "to-file": "file", "dangling": "nowhere"} {
		if err := os.Symlink(target, at(name)); err != nil {
			t.Fatal(err)
		}
	}
	const name, other = " Give --output the name of a file.", " Give --output another file."
	for _, c := range []struct{ name, path, want string }{
		{"a new file", at("new"), ""},
		{"a file", at("file"), ""},
		{"a link to a file", at("to-file"), ""},
		{"a link to nowhere", at("dangling"), ""},
		{"a directory", dir, "a directory, not a file. Give --output the name of a file in it."},
		{"a directory with a slash", dir + "/", "a directory, not a file. Give --output the name of a file in it."},
		{"a link to a directory", at("to-dir"), "a directory, not a file. Give --output the name of a file in it."},
		{"a new name with a slash", at("new") + "/", "the name of a directory, not of a file." + name},
		{"a device", "/dev/null", "a device, pipe or socket, not a file." + name},
		{"a link to a device", at("null"), "a device, pipe or socket, not a file." + name},
		{"a FIFO", at("fifo"), "a device, pipe or socket, not a file." + name},
		{"below a directory that is missing", at("none/x"), "the directory DIR/none does not exist. Make it, or give --output another file."},
		{"below a file", at("file/x"), "DIR/file is not a directory." + other},
		{"two names below a file", at("file/x/y"), "DIR/file/x is not a directory." + other},
	} {
		got := ""
		if err := CheckOutput(c.path); err != nil {
			got = strings.ReplaceAll(err.Error(), dir, "DIR") + ". " + advice.For(err)
		}
		if got != c.want {
			t.Errorf("%s:\n got %s\nwant %s", c.name, got, c.want)
		}
	}
}
