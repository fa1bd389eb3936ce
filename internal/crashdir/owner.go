package crashdir

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// OwnerError reports a directory that somebody has made who has no business
// there: distributions let everyone write to /var/crash.
type OwnerError struct {
	Path string
	UID  uint32
}

func (e *OwnerError) Error() string {
	return fmt.Sprintf("%s belongs to user %d: it is not a dump that ukdump has made", e.Path, e.UID)
}

// CheckOwner reports an *OwnerError if the directory at path, or any other file
// of that name, belongs neither to root, nor to the caller, nor to the owner of the
// directory that it is in.
func CheckOwner(path string) error {
	parent, err := os.Stat(filepath.Dir(path))
	if err != nil {
		return err
	}
	fi, err := os.Lstat(path)
	if err != nil {
		return err
	}
	return checkOwner(path, fi, parent)
}

func checkOwner(path string, fi, parent fs.FileInfo) error {
	if uid := owner(fi); uid != 0 && uid != uint32(os.Geteuid()) && uid != owner(parent) {
		return &OwnerError{path, uid}
	}
	return nil
}

func owner(fi fs.FileInfo) uint32 { return fi.Sys().(*syscall.Stat_t).Uid }

// CheckParent reports why a dump must not be written below parent while users
// are at work: someone else than root or the caller could put another directory
// in the place of the dump's. A parent that does not exist is good, since Create
// makes it.
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
		return &parentError{parent, fmt.Sprintf("it belongs to user %d", st.Uid)}
	}
	writable := fi.Mode()&0o002 != 0 || fi.Mode()&0o020 != 0 && st.Gid != 0
	if writable && fi.Mode()&fs.ModeSticky == 0 {
		return &parentError{parent, "others can rename what is in it"}
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
