package capture

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"

	"ukdump/internal/plan"
)

// Requests of the ioctl(2) of md: include/uapi/linux/raid/md_u.h.
const (
	mdAddNewDisk   = 0x40140921 // with mdu_disk_info_t
	mdSetArrayInfo = 0x40480923 // with mdu_array_info_t
	mdRunArray     = 0x400c0930
	mdStopArray    = 0x932
)

const mdParameters = "/sys/module/md_mod/parameters/"

// assembleMD runs an array. The kernel needs only the list of members: it reads the
// superblocks itself.
func (w *worker) assembleMD(l *plan.Layer) ([]string, error) {
	use, whole, err := w.gather(w.newScan(), l)
	if err != nil {
		return nil, err
	}
	if name := use[0].holder; name != "" {
		if mdState(name) != "inactive" {
			return []string{name}, nil // another target, or a worker that died, has run it
		}
		if f, err := os.OpenFile("/dev/"+name, os.O_RDWR, 0); err == nil { // the worker that died left it inactive
			ioctl(f, mdStopArray, nil)
			f.Close()
		}
	}
	if use[0].id.Version == "" {
		return nil, errors.New("is being reshaped, or belongs to a cluster")
	}
	switch mdState(l.Name) {
	case "clear":
	case "":
		if err := os.WriteFile(mdParameters+"new_array", []byte(l.Name), 0); err != nil {
			return nil, err
		}
	default:
		return nil, errors.New("another array has that name")
	}
	f, err := os.OpenFile("/dev/"+l.Name, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if err := w.runMD(f, l.Name, use, whole); err != nil {
		ioctl(f, mdStopArray, nil)
		return nil, err
	}
	return []string{l.Name}, nil
}

// mdState returns the state of an array (Documentation/admin-guide/md.rst), "" if
// there is none of that name.
func mdState(name string) string {
	b, _ := os.ReadFile("/sys/class/block/" + name + "/md/array_state")
	return strings.TrimSpace(string(b))
}

// runMD starts the new array f with members. whole is true if they are all members
// that the array had at the crash.
func (w *worker) runMD(f *os.File, name string, members []member, whole bool) error {
	info := [18]int32{0, 90}
	if v := members[0].id.Version; v != "0.90" {
		info = [18]int32{1, int32(v[2] - '0')}
	}
	if err := ioctl(f, mdSetArrayInfo, unsafe.Pointer(&info)); err != nil {
		return err
	}
	for _, m := range members {
		var st unix.Stat_t
		err := unix.Stat("/dev/"+m.name, &st)
		disk := [5]int32{1: int32(unix.Major(st.Rdev)), 2: int32(unix.Minor(st.Rdev))}
		if err == nil {
			err = ioctl(f, mdAddNewDisk, unsafe.Pointer(&disk))
		}
		if err != nil {
			whole = false
			w.warn("%s: add %s: %v", name, m.name, err)
		}
	}
	// A RAID 5 that was degraded before the crash has lost the data that was on its way
	// to the missing disk; running the array loses no more. But a disk that is missing
	// only here still has its data, and becomes stale once the array is written to.
	dirty := "0"
	if whole {
		dirty = "1"
	}
	for _, p := range []struct{ name, value string }{
		{"start_dirty_degraded", dirty},
		{"start_ro", "1"}, // the members are not written to before the array is
	} {
		if err := os.WriteFile(mdParameters+p.name, []byte(p.value), 0); err != nil {
			return err
		}
	}
	err := ioctl(f, mdRunArray, nil)
	// The parameter also applies to a RAID of device-mapper.
	os.WriteFile(mdParameters+"start_dirty_degraded", []byte("0"), 0)
	if err != nil {
		return fmt.Errorf("does not run with %d members: %w", len(members), err)
	}
	if !whole {
		w.warn("%s runs without some of its members: add them again after the reboot", name)
	}
	// The next boot will resync. Levels without redundancy have no such file.
	if action := "/sys/class/block/" + name + "/md/sync_action"; fileExists(action) {
		if err := os.WriteFile(action, []byte("frozen"), 0); err != nil {
			w.warn("%s: stop the resync: %v", name, err)
		}
	}
	return nil
}

// ioctl is ioctl(2) with a pointer.
func ioctl(f *os.File, request uintptr, arg unsafe.Pointer) error {
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), request, uintptr(arg)); errno != 0 {
		return errno
	}
	return nil
}
