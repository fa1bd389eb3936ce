package host

import (
	"path"
	"strings"

	"ukdump/internal/fsid"
	"ukdump/internal/kmod"
)

// Member is a device that an array or a file system is made of.
type Member struct {
	Name string `json:"name"` // the kernel's
	// ID distinguishes the member from the others: its number in an array, its
	// device UUID in a file system. It is empty if the device cannot be read.
	ID string `json:"id,omitempty"`
}

// Array is an array of Linux software RAID (Documentation/admin-guide/md.rst).
type Array struct {
	UUID     string   `json:"uuid,omitempty"` // as blkid(8) prints it; empty if it cannot be read
	Level    string   `json:"level"`          // raid1, linear and so on
	Metadata string   `json:"metadata"`       // 1.2, 0.90, external:imsm
	Members  []Member `json:"members"`        // those that hold data now: no spares, no failed ones
	Reshaped bool     `json:"reshaped,omitempty"`
}

// array reads the data of the running kernel and of the members on the array b.
func (h *Host) array(b BlockDevice) *Array {
	dir := path.Join(b.Path, "md")
	a := &Array{Level: h.attr(dir, "level"), Metadata: h.attr(dir, "metadata_version")}
	if p := h.attr(dir, "reshape_position"); p != "" && p != "none" {
		a.Reshaped = true
	}
	for _, name := range b.Below {
		slot, state := h.attr(dir, "dev-"+name+"/slot"), h.attr(dir, "dev-"+name+"/state")
		if slot == "none" || strings.Contains(state, "faulty") {
			continue
		}
		m := Member{Name: name}
		uuid := ""
		if d, err := h.block("/sys/class/block/" + name); err == nil {
			if id := h.member(d); id.Type == "linux_raid_member" {
				uuid, m.ID = id.UUID, id.Member
			}
		}
		if a.UUID == "" {
			a.UUID = uuid
		}
		a.Members = append(a.Members, m)
	}
	return a
}

// member returns the identity of b as a member of an array or of a file system. If b
// cannot be read, the udev database serves.
func (h *Host) member(b BlockDevice) fsid.ID {
	f, err := h.openBlock(b)
	if err != nil {
		return h.udevID(b)
	}
	defer f.Close()
	id, err := fsid.Probe(f, b.Size)
	if err != nil {
		return h.udevID(b)
	}
	return id
}

// firmwareRAID names the formats that only mdmon(8) keeps up to date.
var firmwareRAID = map[string]string{"imsm": "Intel RAID (IMSM)", "ddf": "DDF RAID"}

// refuse fills in why the array cannot be assembled by the kernel alone, and
// reports whether there is a reason.
func (a *Array) refuse(h *Host, e *UnsupportedError) bool {
	e.What = "md array"
	if a.Level != "" {
		e.Name += " (" + a.Level + ")"
	}
	format, external := strings.CutPrefix(a.Metadata, "external:")
	switch {
	case external:
		// That of a volume names its container: external:/md127/0.
		if container, _, ok := strings.Cut(strings.TrimPrefix(format, "/"), "/"); ok {
			format = strings.TrimPrefix(h.attr("/sys/class/block/"+container, "md/metadata_version"), "external:")
		}
		if e.What = firmwareRAID[format]; e.What == "" {
			e.What = "md array with metadata " + a.Metadata
		}
		e.Why = "only mdmon(8) can keep its metadata up to date"
	case a.Metadata == "none":
		e.Why = "no metadata to assemble it by"
	case a.Reshaped:
		e.Why = "reshape in progress: retry after it"
	case a.UUID == "":
		e.Why = "the UUID on its members cannot be read"
	case mdLevels[a.Level] == "":
		e.Why = "the capture kernel cannot run that level"
	default:
		return false
	}
	return true
}

// mdLevels are the aliases of the modules that run the levels.
var mdLevels = map[string]string{
	"linear": "md-level--1", "raid0": "md-level-0", "raid1": "md-level-1", "raid4": "md-level-4",
	"raid5": "md-level-5", "raid6": "md-level-6", "raid10": "md-level-10",
}

// Requests returns the modules that a kernel needs to run the array.
func (a *Array) Requests() []kmod.Request {
	name := a.Level
	switch name {
	case "raid4", "raid5", "raid6":
		name = "raid456"
	}
	return []kmod.Request{{Names: []string{mdLevels[a.Level], name}, Why: "md level " + a.Level}}
}
