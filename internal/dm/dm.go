// Package dm speaks to the kernel's device-mapper: it makes mapped devices and
// reads those that there are.
//
// The requests and structures are those of include/uapi/linux/dm-ioctl.h; what
// each target's parameters mean is in Documentation/admin-guide/device-mapper.
package dm

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// ControlPath is the device that takes the requests. It is there as soon as the
// kernel has device-mapper.
const ControlPath = "/dev/mapper/control"

// Target is one line of a mapping's table.
type Target struct {
	Start, Length uint64 // in the mapped device, in sectors of 512 bytes
	Type          string // linear, striped, crypt
	Params        string
}

// Device is what the kernel says of a mapped device.
type Device struct {
	Name, UUID   string
	Major, Minor uint32
	Active       bool // it has a table
	Suspended    bool
	ReadOnly     bool
}

// Kernel returns the name that sysfs and /dev have for the device: dm-3.
func (d *Device) Kernel() string { return fmt.Sprintf("dm-%d", d.Minor) }

// Control is an open control device. It holds no memory of what it was asked.
type Control struct{ f *os.File }

// Open opens the control device. The error is fs.ErrNotExist, or ENODEV where an
// old node was left, if the kernel has no device-mapper.
func Open() (*Control, error) {
	f, err := os.OpenFile(ControlPath, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	return &Control{f}, nil
}

// Close closes the control device. The mapped devices stay.
func (c *Control) Close() error { return c.f.Close() }

// Make makes a device of a table and makes it usable. With readOnly nothing can
// be written to it. After an error no device is left.
func (c *Control) Make(name, uuid string, table []Target, readOnly bool) (Device, error) {
	if _, err := c.Create(name, uuid); err != nil {
		return Device{}, err
	}
	err := c.Load(name, table, readOnly)
	var d Device
	if err == nil {
		d, err = c.Resume(name)
	}
	if err != nil {
		// The first error is the one that says what is wrong.
		_ = c.Remove(name)
		return Device{}, err
	}
	return d, nil
}

// Create makes a device without a table. The error is EBUSY if there is already
// one of this name or UUID.
func (c *Control) Create(name, uuid string) (Device, error) {
	r, err := newRequest(name, uuid, nil)
	if err != nil {
		return Device{}, err
	}
	return c.device(unix.DM_DEV_CREATE, r, "create")
}

// Load hands over a table, which the next Resume puts into use. EINVAL means
// that the kernel lacks a target's type or does not accept its parameters; only
// its log says which.
func (c *Control) Load(name string, table []Target, readOnly bool) error {
	r, err := newRequest(name, "", table)
	if err != nil {
		return err
	}
	// The table may hold a key: the kernel wipes its copy, and so do we.
	defer clear(r)
	flags := uint32(unix.DM_SECURE_DATA_FLAG)
	if readOnly {
		flags |= unix.DM_READONLY_FLAG
	}
	r.setFlags(flags)
	_, err = c.device(unix.DM_TABLE_LOAD, r, "load the table of")
	return err
}

// Resume puts the table that was loaded into use.
func (c *Control) Resume(name string) (Device, error) {
	r, err := newRequest(name, "", nil)
	if err != nil {
		return Device{}, err
	}
	return c.device(unix.DM_DEV_SUSPEND, r, "resume") // without DM_SUSPEND_FLAG
}

// Remove removes a device. The error is EBUSY while it is in use.
func (c *Control) Remove(name string) error {
	r, err := newRequest(name, "", nil)
	if err != nil {
		return err
	}
	_, err = c.device(unix.DM_DEV_REMOVE, r, "remove")
	return err
}

// Find returns the device with this UUID. The error is ENXIO if there is none.
func (c *Control) Find(uuid string) (Device, error) {
	r, err := newRequest("", uuid, nil)
	if err != nil {
		return Device{}, err
	}
	return c.device(unix.DM_DEV_STATUS, r, "find")
}

// Table returns the table in use of the device with this name. Devices in its
// parameters are written as major:minor. The error is ENXIO if there is no such
// device.
func (c *Control) Table(name string) ([]Target, error) {
	return c.targets(name, unix.DM_STATUS_TABLE_FLAG)
}

// Status returns the same targets, each with its state in Params, in the words
// of its type.
func (c *Control) Status(name string) ([]Target, error) { return c.targets(name, 0) }

func (c *Control) targets(name string, flags uint32) ([]Target, error) {
	for size := 16 << 10; ; size *= 4 {
		r, err := newRequest(name, "", nil)
		if err != nil {
			return nil, err
		}
		r = r.grow(size)
		// It may write a key into the answer.
		r.setFlags(flags | unix.DM_SECURE_DATA_FLAG | unix.DM_SKIP_BDGET_FLAG | unix.DM_NOFLUSH_FLAG)
		if err := c.ioctl(unix.DM_TABLE_STATUS, r, "read the table of"); err != nil {
			return nil, err
		}
		if r.flags()&unix.DM_BUFFER_FULL_FLAG == 0 {
			return r.targets()
		}
		if size >= maxAnswer {
			return nil, &Error{"read the table of", name, errTooLong}
		}
	}
}

// maxAnswer is the length of the longest answer in bytes.
const maxAnswer = 1 << 20

var errTooLong = errors.New("the table is longer than 1 MiB")

// device makes a request whose answer is the state of a device.
func (c *Control) device(op uint, r request, what string) (Device, error) {
	if err := c.ioctl(op, r, what); err != nil {
		return Device{}, err
	}
	return r.device(), nil
}

func (c *Control) ioctl(op uint, r request, what string) error {
	name := r.text(nameAt, unix.DM_NAME_LEN)
	if name == "" {
		name = r.text(uuidAt, unix.DM_UUID_LEN)
	}
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, c.f.Fd(), uintptr(op), uintptr(unsafe.Pointer(&r[0])))
	runtime.KeepAlive(c)
	if errno != 0 {
		return &Error{what, name, errno}
	}
	return nil
}

// Error is a request that failed.
type Error struct {
	Op     string // create, load the table of
	Device string // its name, or its UUID
	Err    error
}

// Unwrap returns Err, an Errno if it is from the kernel.
func (e *Error) Unwrap() error { return e.Err }

func (e *Error) Error() string {
	return "device-mapper: " + e.Op + " " + e.Device + ": " + e.Err.Error()
}

// badName reports whether the kernel would take s as the name or UUID of a
// device: it must fit in size bytes with its NUL, and a slash would lead out of
// /dev/mapper.
func badName(s string, size int) bool {
	return len(s) >= size || strings.ContainsAny(s, "/\x00")
}
