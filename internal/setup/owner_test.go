package setup

import (
	"os"
	"path/filepath"
	"testing"

	"ukdump/internal/bootloader"
)

// A package manager names the package of a file.
func TestOwner(t *testing.T) {
	for _, tt := range []struct{ program, script, want string }{
		{"dpkg-query", `[ "$1 $2" = "-S /etc/x" ] && echo "grub-common, kdump-tools: /etc/x"`,
			"/etc/x is from the package grub-common, kdump-tools: an upgrade that changes the file will ask about it."},
		{"dpkg-query", `printf 'diversion by a from: /etc/x\na: /etc/x\n'`, "/etc/x is from the package a: an upgrade that changes the file will ask about it."},
		{"dpkg-query", `echo "dpkg-query: no path found matching pattern $2" >&2; exit 1`, ""},
		{"dpkg-query", `echo what`, ""},
		{"rpm", `[ "$5" = /etc/x ] && echo grub2-tools`, "/etc/x is from the package grub2-tools: an upgrade that changes the file puts the new one beside it, as .rpmnew."},
		{"rpm", `echo "file $5 is not owned by any package"; exit 1`, ""},
		{"pacman", `echo limine; exit 0`, "/etc/x is from the package limine: an upgrade that changes the file puts the new one beside it, as .pacnew."},
		{"true", ``, ""},
	} {
		bin := t.TempDir()
		if err := os.WriteFile(filepath.Join(bin, tt.program), []byte("#!/bin/sh\n"+tt.script+"\n"), 0o755); err != nil {
			t.Fatal(err)
		}
		t.Setenv("PATH", bin)
		if got := owner("/etc/x"); got != tt.want {
			t.Errorf("%s, %s: %q, not %q", tt.program, tt.script, got, tt.want)
		}
	}
}

// Files that come with the change are of no package.
func TestNoteOwners(t *testing.T) {
	m := &Machine{Owner: func(file string) string { return "owner of " + file }}
	p := &Plan{Files: []bootloader.File{{Path: "/etc/new", New: []byte("x")}, {Path: "/etc/old", Old: []byte("x"), New: []byte("y")}}}
	m.noteOwners(p)
	if len(p.Notes) != 1 || p.Notes[0] != "owner of /etc/old" {
		t.Errorf("%q", p.Notes)
	}
}
