package verify

import (
	"errors"
	"math"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"ukdump/internal/state"
)

// An image unpacks to no place outside its directory.
func TestUnpackHostile(t *testing.T) {
	for name, files := range map[string]map[string]File{
		"upwards":        {"../out": {Mode: 0o644}},
		"by a link":      {"bin": {Mode: os.ModeSymlink | 0o777, Link: ".."}, "bin/out": {Mode: 0o644}},
		"absolute link":  {"bin": {Mode: os.ModeSymlink | 0o777, Link: "/tmp"}, "bin/ukdump-test-out": {Mode: 0o644}},
		"file and below": {"bin": {Mode: 0o644}, "bin/x": {Mode: 0o644}},
	} {
		dir := t.TempDir()
		if err := os.Mkdir(dir+"/in", 0o700); err != nil {
			t.Fatal(err)
		}
		v := &Run{files: files}
		if err := v.unpack(dir + "/in"); err == nil {
			t.Errorf("%s: no error", name)
		}
		for _, out := range []string{dir + "/out", "/tmp/ukdump-test-out"} {
			if _, err := os.Lstat(out); err == nil {
				t.Errorf("%s: %s is there", name, out)
			}
		}
	}
}

// The real write leaves nothing, whatever the file system.
func TestTryWrite(t *testing.T) {
	dir := t.TempDir()
	if err := TryWrite(dir); err != nil {
		t.Error(err)
	}
	if err := TryWrite(dir + "/none"); err != unix.ENOENT {
		t.Error(err)
	}
	if left, err := os.ReadDir(dir); len(left) > 0 || err != nil {
		t.Error(left, err)
	}
}

// A FAT file system with 100 GiB free takes no vmcore of 10 GiB.
func TestNoRoomInFile(t *testing.T) {
	const gib = 1 << 30
	esp := Space{Name: "/efi", Free: 100 * gib, Most: 4*gib - 1}
	if err := NoRoom(10*gib, []Space{esp}); err == nil || !strings.HasSuffix(err.Error(), "/efi has 100.0 GiB free, but takes no file above 4.0 GiB") {
		t.Errorf("got %v", err)
	}
	const mib = 1 << 20
	for free, ok := range map[int64]bool{0: false, 1: false, mib: false, 20 * mib: false, 24 * mib: true, gib: true} {
		if err := NoRoom(0, []Space{{Name: "/var/crash", Free: free, Most: math.MaxInt64}}); (err == nil) != ok {
			t.Errorf("%d bytes free, size of the dump unknown: got %v", free, err)
		}
	}
	if err := NoRoom(10*gib, []Space{esp, {Name: "/srv", Free: 11 * gib, Most: math.MaxInt64}}); err != nil {
		t.Errorf("with another target: %v", err)
	}
	server := Space{Name: "sftp://nas/srv", Free: -1, Most: math.MaxInt64, Server: true}
	if err := errors.Join(NoRoom(10*gib, []Space{esp, server}), NoRoomForLog([]Space{{Name: "/var/crash"}, server})); err != nil {
		t.Errorf("with a server that does not tell: %v", err)
	}
	if got, want := listSpaces([]Space{server}), "sftp://nas/srv does not tell its free space"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	server.Free = mib
	if err := NoRoom(10*gib, []Space{server}); err == nil || !strings.Contains(err.Error(), "sftp://nas/srv has 1.0 MiB free") {
		t.Errorf("with a full server: %v", err)
	}
}

// Only what was seen is said to be in the memory.
func TestLocated(t *testing.T) {
	for _, tt := range []struct{ parts, want string }{
		{"kernel,command line,image", "the reserved memory has /boot/k, the command line and this image"},
		{"image", "the reserved memory has this image; it does not show /boot/k and the command line, which kdumpctl loaded with that"},
		{"command line,image", "the reserved memory has the command line and this image; it does not show /boot/k, which kdumpctl loaded with that"},
	} {
		l := new(state.LoadRecord)
		for part := range strings.SplitSeq(tt.parts, ",") {
			l.Pieces = append(l.Pieces, state.Piece{Part: part})
		}
		if got := located(l, "/boot/k"); got != tt.want {
			t.Errorf("%s: %s", tt.parts, got)
		}
	}
}
