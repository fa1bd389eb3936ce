package capture

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"time"

	"ukdump/internal/fsid"
	"ukdump/internal/plan"
)

// member is a device that belongs to the layer which is looked for.
type member struct {
	name   string
	holder string // the device that is made of it
	id     *fsid.ID
}

// gather waits for the members of an array or a file system and returns those that
// have its newest state, at least one, the newest first, and whether these are all
// that belong to it.
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
			known = known || s.seen[m.name].other == "" && knows(l, m.id.Member)
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
			err = errors.New("none of its members is there")
		case !known && s.others() != "":
			err = errors.New("only copies of its members are there: " + s.others())
		case !known:
			err = errors.New(use[0].name + " was left behind before the image was built, and no other member is there")
		}
		w.warn("%s %s: %d members after %d s; block devices: %s", l.Kind, l.Name, len(use), limit, s)
		return use, false, err
	}
}

// knows reports whether a member was there at build time: any, if the builder could
// not read them.
func knows(l *plan.Layer, id string) bool {
	for i := range l.Members {
		if known := l.Members[i].ID; known == "" || known == id {
			return true
		}
	}
	return len(l.Members) == 0
}

// belonging returns the members that are there, each once, those at the places of
// build time first, and late also those that may be copies.
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
				continue // it is a path of the disk
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

// better reports whether of two devices with the number of one member the first is
// to be used: a disk that replaced a failed one, a device that is not known to
// be a copy, and the partition of a disk in which its superblock is seen as well.
func (s *scan) better(m, than member) bool {
	a, b := m.id.Generation, than.id.Generation
	return a > b || a == b && (s.seen[than.name].other != "" || filepath.Base(s.disk(m.name)) == than.name)
}

// fresh returns those members that have the newest state, the newest first, as
// mdadm(8) decides it: the others were left behind.
func fresh(list []member) (use []member, err error) {
	newest := -1
	for i := range list {
		// A spare does not count itself.
		if m := list[i].id; counts(m, m) && (newest < 0 || m.Generation > list[newest].id.Generation) {
			newest = i
		}
	}
	if newest < 0 {
		return nil, nil
	}
	if other := apart(list, newest); other >= 0 {
		return nil, errors.New(list[newest].name + " and " + list[other].name + " both went on without the other one: which has the data cannot be known")
	}
	use = append(use, list[newest])
	for i := range list {
		// A crash can come between the writing of two superblocks: the kernel allows
		// for the same difference.
		if m := list[i].id; i != newest && counts(use[0].id, m) && counts(m, m) && m.Generation+1 >= use[0].id.Generation {
			use = append(use, list[i])
		}
	}
	return use, nil
}

// apart returns a member that went on without the newest one, -1 for none: the
// array has diverged. A stale member has recorded no failure of those that went
// on, though it may not know its replacement. Two successive states of one array
// share members. Two halves that went on alone share none.
func apart(list []member, newest int) int {
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

// share reports whether the arrays that two members know of have a member in common.
func share(a, b *fsid.ID) bool {
	for _, m := range strings.Fields(a.Active) {
		if strings.Contains(b.Active, " "+m+" ") {
			return true
		}
	}
	return a.Active == "" && a.Version == ""
}

// counts reports whether according to one member another one holds the data.
func counts(by, m *fsid.ID) bool {
	return by.Active == "" && by.Version == "" || strings.Contains(by.Active, " "+m.Member+" ")
}
