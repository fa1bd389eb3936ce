package crashdir

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"
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

// CheckParent returns an error if users other than root and the caller could replace
// the directory of a dump below parent. No dump must be written there while users are
// at work. A parent that does not exist is safe, since Create makes it.
func CheckParent(parent string) error {
	fi, err := os.Stat(parent)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	st := fi.Sys().(*syscall.Stat_t)
	if st.Uid != 0 && st.Uid != uint32(os.Geteuid()) {
		return &parentError{parent, fmt.Sprintf("belongs to user %d", st.Uid)}
	}
	writable := fi.Mode()&0o002 != 0 || fi.Mode()&0o020 != 0 && st.Gid != 0
	if writable && fi.Mode()&fs.ModeSticky == 0 {
		return &parentError{parent, "others can rename its entries"}
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
