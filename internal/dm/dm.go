// Package dm controls the kernel's device-mapper: it makes mapped devices and reads
// existing ones.
//
// The requests and structures are those of include/uapi/linux/dm-ioctl.h; the
// parameters of each target are described in Documentation/admin-guide/device-mapper.
package dm

import (
	"errors"
	"os"
	"runtime"
	"strconv"
	"unsafe"

	"golang.org/x/sys/unix"
)

// ControlPath is the device that takes the requests. It exists once the kernel has
// device-mapper.
const ControlPath = "/dev/mapper/control"

// Target is one line of a mapping's table.
type Target struct {
	Start, Length uint64 // in the mapped device, in sectors of 512 bytes
	Type          string // linear, striped, crypt
	Params        string
}

// Device is the kernel's description of a mapped device.
type Device struct {
	Name, UUID   string
	Major, Minor uint32
	Active       bool // it has a table
}

// Kernel returns the name that sysfs and /dev have for the device: dm-3.
func (d *Device) Kernel() string { return "dm-" + strconv.Itoa(int(d.Minor)) }

// Number returns its number as tables have it: MAJOR:MINOR.
func (d *Device) Number() string {
	return strconv.Itoa(int(d.Major)) + ":" + strconv.Itoa(int(d.Minor))
}

// Control is an open control device. It keeps no state of earlier requests.
type Control struct{ f *os.File }

// Open opens the control device. If the kernel has no device-mapper, the error is
// fs.ErrNotExist, or ENODEV if an old node is left.
func Open() (*Control, error) {
	f, err := os.OpenFile(ControlPath, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	return &Control{f}, nil
}

// Close closes the control device. The mapped devices stay.
func (c *Control) Close() error { return c.f.Close() }

// Make creates a device with a table and activates it. After an error no device is
// left.
func (c *Control) Make(name, uuid string, table []Target) (d Device, err error) {
	if d, err = c.Create(name, uuid); err != nil {
		return d, err
	}
	if d, err = c.activate(name, table); err != nil {
		// The first error is the cause.
		_ = c.Remove(name)
	}
	return d, err
}

func (c *Control) activate(name string, table []Target) (Device, error) {
	if err := c.Load(name, table); err != nil {
		return Device{}, err
	}
	return c.Resume(name)
}

// Create creates a device without a table. The error is EBUSY if a device of this name
// or UUID exists.
func (c *Control) Create(name, uuid string) (Device, error) {
	return c.device(unix.DM_DEV_CREATE, "create", name, uuid)
}

// Load loads a table, which the next Resume activates. EINVAL means that the kernel
// lacks a target's type or does not accept its parameters; only its log tells the two
// apart.
func (c *Control) Load(name string, table []Target) error {
	const op = "load the table of"
	r, err := newRequest(name, "", tableSize(table))
	if err != nil {
		return wrap(op, name, err)
	}
	// The table may hold a key: the kernel wipes its copy, and so do we.
	defer clear(r)
	r.header().Flags = unix.DM_SECURE_DATA_FLAG
	if err := r.putTable(table); err != nil {
		return wrap(op, name, err)
	}
	return wrap(op, name, c.ioctl(unix.DM_TABLE_LOAD, r))
}

// Resume activates the table that was loaded.
func (c *Control) Resume(name string) (Device, error) {
	return c.device(unix.DM_DEV_SUSPEND, "resume", name, "") // without DM_SUSPEND_FLAG
}

// Remove removes a device. The error is EBUSY while it is in use.
func (c *Control) Remove(name string) error {
	_, err := c.device(unix.DM_DEV_REMOVE, "remove", name, "")
	return err
}

// Find returns the device with this UUID. The error is ENXIO if no device has it.
func (c *Control) Find(uuid string) (Device, error) {
	return c.device(unix.DM_DEV_STATUS, "find", "", uuid)
}

// Message sends a message to the targets of a device, in the words of their type.
func (c *Control) Message(name, message string) error {
	const sector = 8 // the size of struct dm_target_msg without its text
	const op = "send a message to"
	r, err := newRequest(name, "", sector+len(message)+1)
	if err != nil {
		return wrap(op, name, err)
	}
	copy(r[headerSize+sector:], message)
	return wrap(op, name, c.ioctl(unix.DM_TARGET_MSG, r))
}

// maxAnswer is the length of the longest answer in bytes.
const maxAnswer = 1 << 20

// Table returns the active table of the device with this name. Devices in its
// parameters are written as major:minor. The error is ENXIO if the device does not
// exist.
func (c *Control) Table(name string) ([]Target, error) {
	const op = "read the table of"
	for size := 16 << 10; size <= maxAnswer; size *= 4 {
		r, err := newRequest(name, "", size)
		if err != nil {
			return nil, wrap(op, name, err)
		}
		// The kernel may write a key into the answer, and wipes its copy.
		defer clear(r)
		r.header().Flags = unix.DM_STATUS_TABLE_FLAG | unix.DM_SECURE_DATA_FLAG | unix.DM_NOFLUSH_FLAG
		if err := c.ioctl(unix.DM_TABLE_STATUS, r); err != nil {
			return nil, wrap(op, name, err)
		}
		if r.header().Flags&unix.DM_BUFFER_FULL_FLAG == 0 {
			return r.targets()
		}
	}
	return nil, wrap(op, name, errors.New("longer than 1 MiB"))
}

// device makes a request about a device. The answer is the state of the device.
func (c *Control) device(op uint, text, name, uuid string) (Device, error) {
	r, err := newRequest(name, uuid, 0)
	if err != nil {
		return Device{}, wrap(text, name+uuid, err)
	}
	if err := c.ioctl(op, r); err != nil {
		return Device{}, wrap(text, name+uuid, err)
	}
	return r.device(), nil
}

func (c *Control) ioctl(op uint, r request) error {
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, c.f.Fd(), uintptr(op), uintptr(unsafe.Pointer(&r[0])))
	runtime.KeepAlive(c)
	if errno != 0 {
		return errno
	}
	return nil
}

// Error is a request that failed.
type Error struct {
	Op     string // create, load the table of
	Device string // its name, or its UUID
	Err    error
}

func wrap(op, device string, err error) error {
	if err == nil {
		return nil
	}
	return &Error{op, device, err}
}

// Unwrap returns Err, an Errno if it is from the kernel.
func (e *Error) Unwrap() error { return e.Err }

func (e *Error) Error() string {
	return "device-mapper: " + e.Op + " " + e.Device + ": " + e.Err.Error()
}
