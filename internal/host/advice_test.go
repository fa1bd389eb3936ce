package host

import (
	"strings"
	"testing"
)

func TestAdvice(t *testing.T) {
	for _, tt := range []struct{ dir, what, why, want string }{
		{"", "tmpfs file system", "it is memory and lost at the reboot", "raw:PARTUUID=ID, a partition that nothing uses"},
		{"", "overlay file system", "its upper directory /u is on tmpfs, which is memory and lost at the reboot", "on a disk of this machine"},
		{"", "overlay file system", "its upper directory /u is not to be found from here", "In a container"},
		{"", "overlay file system", "it is read-only", "can be written to"},
		{"", "composefs", "it is read-only", "can be written to"},
		{"", "squashfs file system", "it is read-only", "can be written to"},
		{"", "fuse.mergerfs file system", "it is made of other file systems", "one of the file systems that it is made of"},
		{"", "autofs file system", "", "Mount what belongs there"},
		{"", "nfs4 file system", "it is not on a disk of this machine", "MODE=emergency"},
		{"", "ZFS dataset", "", "MODE=emergency"},
		{"", "iSCSI disk", "it is not on a disk of this machine", "MODE=emergency"},
		{"", "dm-integrity volume", "", "MODE=emergency"},
		{"", "bcachefs file system", "ukdump cannot open it yet", "MODE=emergency"},
		{"", "xfs file system", "its log is on another device", "MODE=emergency"},
		{"", "LUKS volume", "", "EVIDENCE=/boot"},
		{"", "encrypted directory", "", "not encrypted"},
		{"", "loop device", "it is a file on another file system", "that holds its file"},
		{"raw:/dev/dm-0", "LUKS volume", "", "raw:PARTUUID=ID, or raw:swap"},
	} {
		e := &UnsupportedError{Dir: tt.dir, What: tt.what, Why: tt.why}
		if got := e.Advice(); !strings.Contains(got, tt.want) || strings.Count(got, "\n") > 0 || !strings.HasSuffix(got, ".") {
			t.Errorf("%s: %s: got %q", tt.what, tt.why, got)
		}
	}
	e := &UnsupportedError{What: "ZFS dataset", Remedy: "Do this."}
	if e.Advice() != "Do this." {
		t.Error("its own remedy does not win")
	}
}
