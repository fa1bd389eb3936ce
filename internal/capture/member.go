package capture

import (
	"cmp"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"time"

	"ukdump/internal/fsid"
	"ukdump/internal/plan"
)

// member is a device of the layer that is assembled.
type member struct {
	name   string
	holder string // the device that was assembled from it
	id     *fsid.ID
}

// gather waits for the members of an array or a file system. It returns those with the
// newest state, at least one, the newest first; whole is true if none is missing.
func (w *worker) gather(s *scan, l *plan.Layer) (use []member, whole bool, err error) {
	limit := w.plan.Deadlines.Device
	w.log.printf("waiting up to %d s for the members of %s %s", limit, l.Kind, l.Name)
	for end := uptime() + seconds(limit); ; time.Sleep(50 * time.Millisecond) {
		late := uptime() > end
		if use, err = fresh(s.belonging(l, late)); err != nil {
			return nil, false, err
		}
		known := false
		for _, m := range use {
			known = known || s.seen[m.name].mismatch == "" && knows(l, m.id.Member)
		}
		if known {
			missing := int(min(use[0].id.Members, 1<<20)) - len(use)
			if whole = missing <= 0; whole || missing <= l.Missing {
				return use, whole, nil
			}
		}
		switch {
		case !late:
			continue
		case len(use) == 0:
			err = errors.New("no member appeared")
		case !known && s.copies() != "":
			err = errors.New("only copies of members appeared: " + s.copies())
		case !known:
			err = errors.New(use[0].name + " was stale when the image was built, and no other member appeared")
		}
		w.warn("%s %s: %d members after %d s; block devices: %s", l.Kind, l.Name, len(use), limit, s)
		return use, false, err
	}
}

// knows reports whether a member was recorded at build time. It is true for every
// member if the builder could not read them.
func knows(l *plan.Layer, id string) bool {
	for i := range l.Members {
		if known := l.Members[i].ID; known == "" || known == id {
			return true
		}
	}
	return len(l.Members) == 0
}

// belonging returns the members that have appeared, each once, those at their recorded
// place first. If late it includes possible copies.
func (s *scan) belonging(l *plan.Layer, late bool) (list []member) {
	typ := string(l.Kind)
	if l.Kind == plan.MD {
		typ = "linux_raid_member"
	}
names:
	for _, name := range s.names(l.Members...) {
		d := s.device(name, false)
		if d.err != nil || d.id.Type != typ {
			continue
		}
		// A cache has a UUID of its own.
		if d.id.UUID != l.UUID && (l.Kind != plan.Bcache || !knows(l, d.id.UUID)) {
			continue
		}
		if !s.takes(name, d.id.Member, l, late) {
			continue
		}
		m := member{name: name, id: &d.id}
		if holders, _ := os.ReadDir(filepath.Join(s.sys, name, "holders")); len(holders) > 0 {
			m.holder = holders[0].Name()
			if strings.HasPrefix(m.holder, "dm-") {
				continue // a path of the disk
			}
		}
		for i := range list {
			if list[i].id.Member == m.id.Member {
				if s.better(m, list[i]) {
					list[i] = m
				}
				continue names
			}
		}
		list = append(list, m)
	}
	return list
}

// better reports whether m is to be used instead of than, which has the same number.
// The replacement of a failed disk is better than that disk, any device better than a
// copy, and a partition better than its disk, in which the same superblock shows.
func (s *scan) better(m, than member) bool {
	a, b := m.id.Generation, than.id.Generation
	return a > b || a == b && (s.seen[than.name].mismatch != "" || filepath.Base(s.disk(m.name)) == than.name)
}

// fresh returns the members with the newest state, the newest first, by the rules of
// mdadm(8). The others are stale.
func fresh(list []member) (use []member, err error) {
	newest := -1
	for i := range list {
		// A spare does not count itself.
		if m := list[i].id; counts(m, m) && (newest < 0 || newerState(m, list[newest].id)) {
			newest = i
		}
	}
	if newest < 0 {
		return nil, nil
	}
	if other := divergedFrom(list, newest); other >= 0 {
		return nil, errors.New(list[newest].name + " and " + list[other].name + " have diverged: both were written to independently")
	}
	use = append(use, list[newest])
	for i := range list {
		// A crash can come between the writing of two superblocks: the kernel allows
		// for the same difference.
		if m := list[i].id; i != newest && counts(use[0].id, m) && counts(m, m) && use[0].id.Generation-m.Generation <= 1 {
			use = append(use, list[i])
		}
	}
	return use, nil
}

// newerState reports whether a has a newer state than b. Of states with the same number, the
// one with fewer active members is newer: that of a member which went on without another.
// The rest of the order is arbitrary, but does not depend on the order of the devices.
func newerState(a, b *fsid.ID) bool {
	return cmp.Or(
		cmp.Compare(a.Generation, b.Generation),
		cmp.Compare(b.Members, a.Members),
		strings.Compare(a.Active, b.Active),
		strings.Compare(b.Member, a.Member),
	) > 0
}

// divergedFrom returns a member that diverged from the newest one, -1 for none. The
// state of a member lists the active members. Successive states of one array share
// members; two halves that were written to independently share none. A stale member
// still lists the members that continued without it, though not always its own
// replacement.
func divergedFrom(list []member, newest int) int {
	linked := make([]bool, len(list))
	linked[newest] = true
	for again := true; again; {
		again = false
		for i := range list {
			for j := range list {
				if linked[i] && !linked[j] && share(list[i].id, list[j].id) {
					linked[j], again = true, true
				}
			}
		}
	}
	for i := range list {
		if m := list[i].id; !linked[i] && counts(m, m) {
			return i
		}
	}
	return -1
}

// share reports whether the states of two members have an active member in common.
func share(a, b *fsid.ID) bool {
	for _, m := range strings.Fields(a.Active) {
		if strings.Contains(b.Active, " "+m+" ") {
			return true
		}
	}
	return a.Active == "" && a.Version == ""
}

// counts reports whether the state of member by lists m as active.
func counts(by, m *fsid.ID) bool {
	return by.Active == "" && by.Version == "" || strings.Contains(by.Active, " "+m.Member+" ")
}
