package crashdir

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// OwnerError reports a directory that another user has made: some distributions let
// everyone write to /var/crash.
type OwnerError struct {
	Path string
	UID  uint32
}

func (e *OwnerError) Error() string {
	return fmt.Sprintf("%s belongs to user %d: not a dump made by ukdump", e.Path, e.UID)
}

// checkOwner returns an *OwnerError if the directory at path of user uid belongs neither
// to root, nor to the caller, nor to above, the owner of its parent directory.
func checkOwner(path string, uid, above uint32) error {
	if uid != 0 && uid != uint32(os.Geteuid()) && uid != above {
		return &OwnerError{path, uid}
	}
	return nil
}

// Sharing is who may write to a directory of dumps besides root and the caller.
type Sharing struct {
	Who     string // "everyone", "group 1000", "user 1000"; "" if nobody
	Replace bool   // they may also rename and remove the dumps of root
}

// SharedWith returns who may write to parent. Nobody may if it does not exist, since
// Create makes it.
func SharedWith(parent string) (Sharing, error) {
	var st unix.Stat_t
	err := unix.Stat(parent, &st)
	if err == unix.ENOENT {
		return Sharing{}, nil
	}
	if err != nil {
		return Sharing{}, pathError("stat", parent, err)
	}
	switch {
	case st.Uid != 0 && st.Uid != uint32(os.Geteuid()):
		return Sharing{fmt.Sprintf("user %d", st.Uid), true}, nil // the sticky bit does not keep the owner from it, inode(7)
	case st.Mode&0o002 != 0:
		return Sharing{"everyone", st.Mode&unix.S_ISVTX == 0}, nil
	case st.Mode&0o020 == 0:
		return Sharing{}, nil
	}
	// With an access control list these bits are those of its mask, acl(5).
	n, err := unix.Getxattr(parent, "system.posix_acl_access", nil)
	if err == nil && n > 0 {
		return Sharing{"users of its access control list", st.Mode&unix.S_ISVTX == 0}, nil
	}
	if st.Gid == 0 {
		return Sharing{}, nil
	}
	return Sharing{fmt.Sprintf("group %d", st.Gid), st.Mode&unix.S_ISVTX == 0}, nil
}

// Describe says in one line what the others can do in dir, "" if there are none.
func (s Sharing) Describe(dir string) string {
	switch {
	case s.Who == "":
		return ""
	case s.Replace:
		return fmt.Sprintf("%s may write to %s: they can remove dumps, and collect refuses it", s.Who, dir)
	}
	return fmt.Sprintf("%s may write to %s: they cannot change dumps, but can fill its file system", s.Who, dir)
}

// CheckParent returns an error if users other than root and the caller could replace
// the directory of a dump below parent. No dump must be written there while users are
// at work. A parent that does not exist is safe, since Create makes it.
func CheckParent(parent string) error {
	s, err := SharedWith(parent)
	if err != nil {
		return err
	}
	if s.Replace {
		return &parentError{parent, s.Who + " can rename its entries"}
	}
	return nil
}

// parentError reports a directory that is not safe to write to.
type parentError struct{ path, why string }

func (e *parentError) Error() string { return e.path + " is not safe for dumps: " + e.why }

// Advice returns the command to use.
func (e *parentError) Advice() string {
	return "Run chown root " + e.path + " and chmod go-w " + e.path + "."
}
