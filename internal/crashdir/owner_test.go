package crashdir

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestCheckOwner(t *testing.T) {
	self := uint32(os.Geteuid())
	for _, tt := range []struct {
		name         string
		file, parent uint32
		good         bool
	}{
		{"root's in root's", 0, 0, true},
		{"own in root's", self, 0, true},
		{"planted in root's", 4242, 0, false},
		{"planted in own", 4242, self, self == 4242},
		{"root's in a user's", 0, 4242, true},
		{"a user's in his own", 4242, 4242, true},
		{"another user's in it", 4343, 4242, false},
	} {
		err := checkOwner("/x", tt.file, tt.parent)
		if (err == nil) != tt.good {
			t.Errorf("%s: %v", tt.name, err)
		}
		if err != nil && (!errors.As(err, new(*OwnerError)) || err.Error() == "") {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
}

// Directories that others planted are not listed. Only root can plant as others.
func TestListPlanted(t *testing.T) {
	parent := t.TempDir()
	if err := os.Chmod(parent, 0o777|fs.ModeSticky|fs.ModeSetgid); err != nil {
		t.Fatal(err)
	}
	const own, planted = "2026-11-22T00-00-00Z", "2026-11-23T00-00-00Z"
	put(t, parent, own, map[string]string{Vmcore: "x"})
	put(t, parent, planted, map[string]string{Vmcore: "x"})
	if err := os.Chown(filepath.Join(parent, planted), 4242, 4242); err != nil {
		t.Skip(err)
	}
	dumps, err := List(parent)
	if err != nil || len(dumps) != 1 || dumps[0].Name != own {
		t.Errorf("%+v, %v", dumps, err)
	}
	d, err := Read(filepath.Join(parent, planted))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := OpenFolder(d); !errors.As(err, new(*OwnerError)) {
		t.Error(err)
	}
}

// Whatever the modes of a directory are that distributions made, those of a dump
// are its own.
func TestModesBelow(t *testing.T) {
	for _, mode := range []fs.FileMode{0o700, 0o755, 0o777 | fs.ModeSticky, 0o777 | fs.ModeSticky | fs.ModeSetgid} {
		parent := t.TempDir()
		if err := os.Chmod(parent, mode); err != nil {
			t.Fatal(err)
		}
		dir, err := Create(parent, time.Unix(0, 0))
		if err != nil {
			t.Fatal(err)
		}
		if err := WriteFile(dir, Dmesg, func(io.Writer) error { return nil }); err != nil {
			t.Fatal(err)
		}
		for path, want := range map[string]fs.FileMode{dir: 0o700, filepath.Join(dir, Dmesg): 0o600} {
			if fi, err := os.Stat(path); err != nil || fi.Mode().Perm() != want {
				t.Errorf("below %v: %s has %v, %v", mode, path, fi.Mode(), err)
			}
		}
		if fi, err := os.Stat(parent); err != nil || fi.Mode()&^fs.ModeDir != mode {
			t.Errorf("%v became %v, %v", mode, fi.Mode(), err)
		}
	}
}

func TestCheckParent(t *testing.T) {
	dir := t.TempDir()
	for mode, good := range map[fs.FileMode]bool{
		0o700: true, 0o755: true, 0o777: false, 0o702: false,
		0o777 | fs.ModeSticky: true, 0o777 | fs.ModeSticky | fs.ModeSetgid: true,
		0o770: os.Getegid() == 0, // a group of root alone
	} {
		if err := os.Chmod(dir, mode); err != nil {
			t.Fatal(err)
		}
		if err := CheckParent(dir); (err == nil) != good {
			t.Errorf("%v: %v", mode, err)
		}
	}
	if err := CheckParent(dir + "/none"); err != nil {
		t.Error(err)
	}
	if err := os.Chown(dir, 4242, -1); err == nil && CheckParent(dir) == nil {
		t.Error("a directory of a user's is safe")
	}
}

func TestSharedWith(t *testing.T) {
	const sticky, setgid = fs.ModeSticky, fs.ModeSetgid
	for _, tt := range []struct {
		name     string
		mode     fs.FileMode
		uid, gid int
		acl      bool
		want     Sharing
	}{
		{"Debian", 0o755, 0, 0, false, Sharing{}},
		{"Fedora", 0o700, 0, 0, false, Sharing{}},
		{"root's group alone", 0o770, 0, 0, false, Sharing{}},
		{"apport", 0o777 | sticky, 0, 0, false, Sharing{"everyone", false}},
		{"apport with whoopsie", 0o777 | sticky | setgid, 0, 116, false, Sharing{"everyone", false}},
		{"without the sticky bit", 0o777, 0, 0, false, Sharing{"everyone", true}},
		{"not for its group", 0o707, 0, 116, false, Sharing{"everyone", true}},
		{"group of ABRT", 0o775, 0, 173, false, Sharing{"group 173", true}},
		{"sticky for a group", 0o775 | sticky, 0, 173, false, Sharing{"group 173", false}},
		{"of a user", 0o755, 4242, 0, false, Sharing{"user 4242", true}},
		{"sticky of a user", 0o777 | sticky, 4242, 0, false, Sharing{"user 4242", true}},
		{"access control list", 0o775, 0, 0, true, Sharing{"users of its access control list", true}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			if err := os.Chown(dir, tt.uid, tt.gid); err != nil {
				t.Skip(err)
			}
			if err := os.Chmod(dir, tt.mode); err != nil {
				t.Fatal(err)
			}
			if tt.acl {
				// Version 2: owner rwx, user 4242 rwx, group r-x, mask rwx, others r-x.
				acl := "\x02\x00\x00\x00" + "\x01\x00\x07\x00\xff\xff\xff\xff" + "\x02\x00\x07\x00\x92\x10\x00\x00" +
					"\x04\x00\x05\x00\xff\xff\xff\xff" + "\x10\x00\x07\x00\xff\xff\xff\xff" + "\x20\x00\x05\x00\xff\xff\xff\xff"
				if err := unix.Setxattr(dir, "system.posix_acl_access", []byte(acl), 0); err != nil {
					t.Skip(err)
				}
			}
			got, err := SharedWith(dir)
			if err != nil || got != tt.want {
				t.Errorf("got %+v, %v, want %+v", got, err, tt.want)
			}
			if (got.Describe("/x") == "") != (tt.want == Sharing{}) || (CheckParent(dir) != nil) != tt.want.Replace {
				t.Errorf("%q, %v", got.Describe("/x"), CheckParent(dir))
			}
		})
	}
}

// A list in a report that no capture writes is refused, not kept.
func TestReportLists(t *testing.T) {
	for _, list := range []string{"attempts", "steps"} {
		many := []byte(`{"version":1,"outcome":"failed","` + list + `":[{}`)
		for range maxEntries {
			many = append(many, ",{}"...)
		}
		if _, err := ParseReport(append(many, "]}"...)); err == nil {
			t.Errorf("%d %s", maxEntries+1, list)
		}
	}
}
