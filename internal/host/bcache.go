package host

import (
	"path"

	"ukdump/internal/kmod"
)

// Cached is a disk with a cache in front of it (Documentation/admin-guide/bcache.rst).
type Cached struct {
	UUID  string `json:"uuid,omitempty"` // of the disk behind the cache; empty if it is not known
	State string `json:"state"`          // no cache, clean, dirty
	// Members are the disk and its caches, with their UUIDs.
	Members []Member `json:"members"`
}

// cached reads the running kernel's data on the bcache device b.
func (h *Host) cached(b BlockDevice) *Cached {
	dir := path.Join(b.Path, "bcache")
	c := &Cached{UUID: h.attr(dir, "backing_dev_uuid"), State: h.attr(dir, "state")}
	for _, name := range b.Below {
		m := Member{Name: name}
		if d, err := h.block("/sys/class/block/" + name); err == nil {
			m.ID = h.member(d).UUID
		}
		c.Members = append(c.Members, m)
	}
	return c
}

// refuse fills in why the device cannot be assembled, and reports whether there is
// a reason.
func (c *Cached) refuse(e *UnsupportedError) bool {
	e.What = "bcache device"
	switch {
	case c.UUID == "": // before Linux 5.1
		e.Why = "the running kernel does not show the UUID of the backing device"
	case c.State == "inconsistent":
		e.Why = "its cache was lost with data that had not been written back"
	default:
		return false
	}
	return true
}

// Requests returns the modules that a kernel needs to run the device.
func (c *Cached) Requests() []kmod.Request {
	return []kmod.Request{{Names: []string{"bcache"}, Why: "bcache"}}
}
