package ctl

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"ukdump/internal/advice"
	"ukdump/internal/cli"
	"ukdump/internal/config"
	"ukdump/internal/crashdir"
	"ukdump/internal/plan"
)

// reserve is the free space that no vmcore takes, at most, in bytes (internal/capture).
const reserve = 8 << 20

// space is what a target can take.
type space struct {
	name string
	free int64 // bytes, now
	old  int64 // bytes of dumps that make way
	most int64 // bytes of one file
}

// room returns how large a dump can be there, in bytes.
func (s *space) room() int64 {
	return min(s.free+s.old-min(reserve, s.free/4), s.most)
}

// checkTargets writes to the targets and compares their space with the forecast.
func (v *verification) checkTargets() {
	var spaces []space
	if v.build == nil {
		for _, t := range v.conf.Targets {
			if !config.IsRaw(t) {
				v.checkDirectory("target", t)
			}
		}
		return
	}
	for _, t := range v.build.Plan.Targets {
		if v.problem("target", v.checkKeys(&t, v.loaded)) {
			continue
		}
		if t.Kind == plan.Raw {
			spaces = append(spaces, v.checkRaw(t.Dir)...)
		} else {
			spaces = append(spaces, v.checkDirectory("target", t.Dir)...)
		}
	}
	for _, t := range v.build.Plan.Evidence {
		if !v.problem("evidence", v.checkKeys(&t, v.loaded)) {
			v.checkDirectory("evidence", t.Dir)
		}
	}
	v.checkSpace(spaces)
}

// checkRaw looks whether a raw device can take a dump.
func (v *verification) checkRaw(name string) []space {
	for _, u := range v.build.Uncollected {
		if u == name {
			v.problem("target", advice.With(errors.New(name+" has a dump that was not collected and takes no other"), "Run kdumpctl collect."))
			return nil
		}
	}
	return []space{{name: name, free: v.build.RawSizes[name], most: math.MaxInt64}}
}

// checkDirectory writes to a directory, or to what will hold it.
func (v *verification) checkDirectory(topic, dir string) []space {
	at := filepath.Join(v.root, dir)
	var st unix.Statfs_t
	err := unix.Statfs(at, &st)
	for err == unix.ENOENT && at != "/" {
		at = filepath.Dir(at)
		err = unix.Statfs(at, &st)
	}
	switch {
	case err != nil:
		err = fmt.Errorf("%s: %w", dir, err)
	case st.Flags&unix.ST_RDONLY != 0:
		err = unix.EROFS
	default:
		err = v.tryWrite(at)
	}
	if errors.Is(err, unix.EROFS) {
		err = advice.With(errors.New(dir+" is on a file system that is mounted read-only"), "See why with dmesg: errors on the disk can make it so; then repair it with fsck, or name another directory in TARGET=.")
	} else if err != nil {
		err = fmt.Errorf("%s cannot be written to: %w", dir, err)
	}
	if v.problem(topic, err) {
		return nil
	}
	s := space{name: dir, free: int64(st.Bavail) * st.Bsize, most: crashdir.LargestFile(st.Type)}
	if v.build != nil && v.build.Plan.MakeSpace {
		dumps, _ := crashdir.List(at)
		for _, d := range crashdir.Expendable(dumps) {
			s.old += d.Used
		}
	}
	v.ok(topic, "%s can be written to", dir)
	return []space{s}
}

// tryWrite writes a file without a name in dir, see open(2). What the power
// failure of this moment leaves is gone with the next mount.
func tryWrite(dir string) error {
	fd, err := unix.Open(dir, unix.O_TMPFILE|unix.O_WRONLY|unix.O_CLOEXEC, 0o600)
	var f *os.File
	switch {
	case err == nil:
		f = os.NewFile(uintptr(fd), dir)
	case errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.EISDIR): // vfat has no files without a name
		if f, err = os.CreateTemp(dir, ".ukdump-verify-"); err != nil {
			return plainPath(err)
		}
		defer os.Remove(f.Name())
	default:
		return err
	}
	defer f.Close()
	if _, err := f.Write(make([]byte, 64<<10)); err != nil {
		return plainPath(err)
	}
	return plainPath(f.Sync())
}

// plainPath strips the path, which the caller names.
func plainPath(err error) error {
	if pe := (*fs.PathError)(nil); errors.As(err, &pe) {
		return pe.Err
	}
	return err
}

// checkSpace compares what the targets can take with the forecast, made now or
// else at the load. It is enough if one of them has the room: the others are
// tried and given up.
func (v *verification) checkSpace(spaces []space) {
	f := v.forecast
	if f == nil && v.loaded != nil {
		f = v.loaded.Forecast
	}
	if len(spaces) == 0 {
		return
	}
	if f == nil || f.Bytes == 0 {
		v.note("space", "%s; how large a dump will be is not known", listSpaces(spaces))
		return
	}
	var enough, short []space
	for _, s := range spaces {
		if s.room() >= f.Bytes {
			enough = append(enough, s)
		} else {
			short = append(short, s)
		}
	}
	need := "a dump takes up to " + cli.Size(f.Bytes)
	switch {
	case len(enough) == 0:
		v.problem("space", tooSmall("the next dump may not fit: %s; %s", need, listSpaces(spaces)))
	case len(short) > 0 && short[0] == spaces[0]:
		v.note("space", "%s, which only a later target is sure to take: %s", need, listSpaces(spaces))
	default:
		v.ok("space", "%s; %s", need, listSpaces(spaces))
	}
	for _, s := range enough {
		if keep := v.conf.KeepFree; keep > 0 && s.free-f.Bytes < keep {
			v.note("space", "KEEP_FREE=%s will not be left on %s: older dumps make way at the next load", cli.Size(keep), s.name)
		}
	}
	if limit := v.conf.MaxUse; limit > 0 && f.Bytes > limit {
		v.note("space", "one dump can take more than MAX_USE=%s: then only the newest stay", cli.Size(limit))
	}
}

func listSpaces(spaces []space) string {
	var list []string
	for _, s := range spaces {
		text := s.name + " has " + cli.Size(s.free)
		if s.old > 0 {
			text += ", and " + cli.Size(s.old) + " of old dumps that make way"
		}
		if s.free+s.old > s.most {
			text += ", but takes no file above " + cli.Size(s.most)
		}
		list = append(list, text)
	}
	return strings.Join(list, "; ")
}
