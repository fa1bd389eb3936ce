package verify

import (
	"fmt"
	"strings"

	"ukdump/internal/advice"
	"ukdump/internal/builder"
	"ukdump/internal/cli"
	"ukdump/internal/crashdir"
)

// reserve is the free space that no vmcore takes, at most, in bytes (internal/capture).
const reserve = 8 << 20

// leastDump is less than any vmcore of a running system takes, in bytes. It stands for
// a forecast that is not known.
const leastDump = 16 << 20

// Space is how much a target can take.
type Space struct {
	Name string
	Free int64 // bytes, now; -1 if a server does not tell
	Old  int64 // bytes of dumps that make way
	Most int64 // bytes of one file

	Server bool // at a server, where nothing is removed
}

// Room returns how large a dump can be there, in bytes.
func (s *Space) Room() int64 {
	if s.Free < 0 {
		return s.Most
	}
	return min(s.Free+s.Old-min(reserve, s.Free/4), s.Most)
}

// NoRoom returns the problem that a dump of that many bytes is sure to fit into none of
// the spaces, nil if it fits into one. 0 bytes stand for a size that is not known.
func NoRoom(need int64, spaces []Space) error {
	text := upTo(need)
	if need == 0 {
		need, text = leastDump, "a dump takes more than "+cli.Size(leastDump)
	}
	for _, s := range spaces {
		if s.Room() >= need {
			return nil
		}
	}
	return advice.With(
		fmt.Errorf("the next dump may not fit: %s; %s", text, listSpaces(spaces)),
		"Make room there, remove dumps with kdumpctl rm, or name a larger target in TARGET=.")
}

// leastLog is less than the files of a dump without a vmcore take, in bytes: the ring
// buffer alone has 128 KiB or more (LOG_BUF_SHIFT in init/Kconfig).
const leastLog = 256 << 10

// NoRoomForLog is NoRoom for a dump without a vmcore.
func NoRoomForLog(spaces []Space) error {
	for _, s := range spaces {
		if s.Free < 0 || s.Free+s.Old >= leastLog {
			return nil
		}
	}
	return advice.With(
		fmt.Errorf("the next kernel log may not fit: %s", listSpaces(spaces)),
		"Make room there, remove dumps with kdumpctl rm, or name another target in TARGET=.")
}

// Expendable returns the bytes of the dumps in dir that make way for the next one.
func Expendable(dir string) (bytes int64) {
	dumps, _ := crashdir.List(dir)
	for _, d := range crashdir.Expendable(dumps) {
		bytes += d.Used
	}
	return bytes
}

func upTo(bytes int64) string { return "a dump takes up to " + cli.Size(bytes) }

// checkSpace compares the room of the targets with the forecast, made now or
// else at the load. It is enough if one of them has the room: the others are
// tried and given up.
func (v *Run) checkSpace(spaces []Space) {
	f := v.forecast
	if f == nil && v.Loaded != nil {
		f = v.Loaded.Forecast
	}
	if len(spaces) == 0 {
		return
	}
	if v.conf.LogOnly {
		if !v.Problem("space", NoRoomForLog(spaces)) {
			v.ok("space", "%s; %s", builder.LogOnly, listSpaces(spaces))
		}
		return
	}
	if f == nil || f.Bytes == 0 {
		if v.Problem("space", NoRoom(0, spaces)) {
			return
		}
		v.note("space", "%s; unknown how large a dump will be", listSpaces(spaces))
		return
	}
	var enough, short []Space
	for _, s := range spaces {
		if s.Room() >= f.Bytes {
			enough = append(enough, s)
		} else {
			short = append(short, s)
		}
	}
	need := upTo(f.Bytes)
	switch {
	case len(enough) == 0:
		v.Problem("space", NoRoom(f.Bytes, spaces))
	case len(short) > 0 && short[0] == spaces[0]:
		v.note("space", "%s, which fits only a later target for certain: %s", need, listSpaces(spaces))
	default:
		v.ok("space", "%s; %s", need, listSpaces(spaces))
	}
	for _, s := range enough {
		if keep := v.conf.KeepFree; keep > 0 && !s.Server && s.Free-f.Bytes < keep {
			v.note("space", "%[2]s will have less than KEEP_FREE=%[1]s free: the next load removes older dumps", cli.Size(keep), s.Name)
		}
	}
	if limit := v.conf.MaxUse; limit > 0 && f.Bytes > limit {
		v.note("space", "one dump can take more than MAX_USE=%s: then only the newest dumps stay", cli.Size(limit))
	}
}

func listSpaces(spaces []Space) string {
	var list []string
	for _, s := range spaces {
		if s.Free < 0 {
			list = append(list, s.Name+" does not tell its free space")
			continue
		}
		text := s.Name + " has " + cli.Size(s.Free) + " free"
		if s.Old > 0 {
			text += ", and " + cli.Size(s.Old) + " of old dumps that make way"
		}
		if s.Free+s.Old > s.Most {
			text += ", but takes no file above " + cli.Size(s.Most)
		}
		list = append(list, text)
	}
	return strings.Join(list, "; ")
}
