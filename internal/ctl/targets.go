package ctl

import (
	"errors"
	"fmt"
	"math"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"ukdump/internal/advice"
	"ukdump/internal/builder"
	"ukdump/internal/cli"
	"ukdump/internal/config"
	"ukdump/internal/crashdir"
	"ukdump/internal/host"
	"ukdump/internal/plan"
	"ukdump/internal/target"
	"ukdump/internal/verify"
)

// targetStatus is one target of a status.
type targetStatus struct {
	Kind     plan.Kind `json:"kind"`
	Dir      string    `json:"dir"` // or raw:DEVICE
	Device   string    `json:"device,omitempty"`
	FSType   string    `json:"fstype,omitempty"` // of a raw device, the type of its content
	UUID     string    `json:"uuid,omitempty"`
	PartUUID string    `json:"partuuid,omitempty"`
	Free     *int64    `json:"free_bytes,omitempty"` // of a raw device, its size; nil if it cannot be read
	// NotMounted is the mount point at or above Dir that is not mounted.
	NotMounted string `json:"not_mounted,omitempty"`
	// Written is when kdumpctl verify last wrote to a target at a server.
	Written *time.Time `json:"last_written,omitempty"`
	// Omitted is why the image has no target at this server at the moment.
	Omitted string `json:"omitted,omitempty"`

	old  int64 // bytes of dumps that make way
	most int64 // bytes of one file
}

// gatherTargets gathers the facts that need only the configuration. The raw
// device that nobody asked for is there only if the machine has it.
func (c *ctl) gatherTargets(s *status, conf *config.Config) {
	mounts := host.ReadMountTable(c.root)
	for _, t := range conf.Targets {
		switch {
		case t.Remote():
			s.Targets = append(s.Targets, c.gatherServer(kindOf(t), t.String()))
		case !t.Raw():
			s.Targets = append(s.Targets, c.gatherDirectory(s, mounts, filepath.Join(c.root, t.Name)))
		case conf.IsSet("TARGET"):
			s.Targets = append(s.Targets, targetStatus{Kind: plan.Raw, Dir: t.String()})
		}
	}
}

// kindOf returns the kind of a target at a server.
func kindOf(t target.Target) plan.Kind {
	if t.Kind == target.NFS {
		return plan.NFS
	}
	return plan.Server
}

// gatherServer asks nobody: status must be quick.
func (c *ctl) gatherServer(kind plan.Kind, name string) targetStatus {
	t := targetStatus{Kind: kind, Dir: name}
	if r, err := c.store.Verified(); err == nil {
		if at, ok := r.Served[name]; ok {
			t.Written = &at
		}
	}
	return t
}

func (c *ctl) gatherDirectory(s *status, mounts *host.MountTable, dir string) targetStatus {
	t := targetStatus{Kind: plan.Directory, Dir: dir}
	err := verify.NotMounted(mounts, dir)
	if missing := (*host.NotMountedError)(nil); errors.As(err, &missing) {
		s.Problem("target", err)
		t.NotMounted = missing.Point
		return t
	}
	room, _, err := crashdir.RoomFor(dir)
	if err != nil {
		if err != unix.EACCES || !s.Partial {
			s.Problem("target", fmt.Errorf("target %s: %w", dir, err))
		}
		return t
	}
	t.Free, t.most = &room.Free, room.Largest
	if room.NoFiles {
		s.Problem("target", advice.With(fmt.Errorf("target %s: no inode is free, so no dump can be written", dir), "Remove files from that file system."))
	}
	return t
}

// describeTargets replaces the configured targets by those that the builder
// found on this machine.
func (c *ctl) describeTargets(s *status, b *builder.Build) {
	room := make(map[string]targetStatus)
	for _, t := range s.Targets {
		room[t.Dir] = t
	}
	s.Targets = s.Targets[:0]
	omitted := b.Omitted
	addOmitted := func(before int) {
		for ; len(omitted) > 0 && omitted[0].Before == before; omitted = omitted[1:] {
			t := c.gatherServer(room[omitted[0].Target].Kind, omitted[0].Target)
			if s.Ours == nil || !slices.Contains(s.Ours.Servers, t.Dir) {
				t.Omitted = omitted[0].Err.Error()
			}
			s.Targets = append(s.Targets, t)
		}
	}
	for i, p := range b.Plan.Targets {
		addOmitted(i)
		t := targetStatus{Kind: plan.Raw, Dir: p.Dir, most: math.MaxInt64}
		if size, ok := b.RawSizes[p.Dir]; ok {
			t.Free = &size
		}
		switch p.Kind {
		case plan.Raw:
		case plan.NFS, plan.Server:
			s.Targets = append(s.Targets, c.gatherServer(p.Kind, p.Dir))
			continue
		default:
			t = room[filepath.Join(c.root, p.Dir)]
			if b.Plan.MakeSpace {
				t.old = verify.Expendable(t.Dir)
			}
		}
		t.Device, t.FSType, t.UUID, t.PartUUID = p.Device.Name, p.Filesystem.Type, p.Filesystem.UUID, p.Device.PartUUID
		s.Targets = append(s.Targets, t)
	}
	addOmitted(len(b.Plan.Targets))
}

// line describes a target to people.
func (t *targetStatus) line() string {
	s := t.Dir
	if t.Device != "" {
		s += " on " + t.Device
	}
	if t.FSType != "" {
		s += " (" + t.FSType + ")"
	}
	if t.NotMounted != "" {
		return s + ": " + t.NotMounted + " is not mounted"
	}
	switch {
	case t.Omitted != "":
		s += ", omitted: " + t.Omitted
	case t.Kind.Remote() && t.Written != nil:
		s += ", last written to " + t.Written.UTC().Format(time.RFC3339)
	case t.Kind.Remote():
		s += ", not written to yet: run kdumpctl verify"
	case t.Free != nil:
		s += ", " + t.room()
	case t.Kind != plan.Raw:
		s += ", free space not known"
	}
	return s
}

// room says how much a target can take.
func (t *targetStatus) room() string {
	size := cli.Size(*t.Free)
	switch {
	case t.Kind == plan.Raw:
		return size
	case *t.Free > t.most:
		return size + " free, but no file above " + cli.Size(t.most)
	}
	return size + " free"
}

// forecastLine describes the forecast of the loaded set to people.
func (s *status) forecastLine() string {
	f := s.Ours.Forecast
	if f.Bytes == 0 {
		return "unknown: " + f.Problem
	}
	line := "up to " + cli.Size(f.Bytes)
	if len(s.Targets) > 0 && s.Targets[0].Free != nil {
		line += ", " + s.Targets[0].room() + " on " + s.Targets[0].Dir
	}
	return line
}

// noRoom returns the problem that no target is sure to take the next dump, nil if one
// is, or may be.
func (s *status) noRoom() error {
	if len(s.Targets) == 0 {
		return nil
	}
	need := int64(0) // not known
	noRoom := func(spaces []verify.Space) error { return verify.NoRoom(need, spaces) }
	if s.LogOnly {
		noRoom = verify.NoRoomForLog
	}
	if s.Ours != nil && s.Ours.Forecast != nil {
		need = s.Ours.Forecast.Bytes
	}
	var spaces []verify.Space
	for _, t := range s.Targets {
		if t.Omitted != "" {
			continue
		}
		if t.Free == nil {
			return nil
		}
		spaces = append(spaces, verify.Space{Name: t.Dir, Free: *t.Free, Old: t.old, Most: t.most})
	}
	return noRoom(spaces)
}

// rawTargets returns the names of the raw targets.
func (s *status) rawTargets() (names []string) {
	for _, t := range s.Targets {
		if t.Kind == plan.Raw {
			names = append(names, t.Dir)
		}
	}
	return names
}
