// Package pstore reads kernel logs out of the persistent store, in which a kernel
// leaves the end of its log when it panics (Documentation/ABI/testing/pstore,
// fs/pstore/platform.c). It removes nothing: systemd-pstore(8) does.
package pstore

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Directories of logs below the root directory: the store itself, and the archive of
// systemd-pstore(8).
const (
	Store   = "sys/fs/pstore"
	Archive = "var/lib/systemd/pstore"
)

// Limits of reading. The store of a machine is smaller, but its archive grows.
const (
	maxRecords = 1024 // of one directory, the last ones by name
	maxRecord  = 1 << 20
	maxTotal   = 64 << 20
	maxDirs    = 1024 // below the archive, the last ones by name
	maxDepth   = 2    // TIMESTAMP/COUNT
)

// Log is the log of one panic.
type Log struct {
	Text  []byte    // oldest line first
	Time  time.Time // of its newest record, which may be when that was archived
	Paths []string  // of its records, oldest first
}

// ID names a log by its content: it is the same in the store and in the archive.
func (l *Log) ID() string {
	sum := sha256.Sum256(l.Text)
	return "pstore-" + hex.EncodeToString(sum[:8])
}

// Read returns the logs in the given directories, those of each directory in the order
// of their names, and one that is in several only once. Directories that do not exist
// hold none. A record that cannot be read is skipped and reported by the error; the
// other logs are returned with it.
func Read(dirs ...string) ([]Log, error) {
	r := &reader{left: maxTotal, seen: map[string]bool{}}
	for _, dir := range dirs {
		r.dir(dir, 0)
	}
	return r.logs, errors.Join(r.errs...)
}

type reader struct {
	logs []Log
	left int64 // bytes that may still be read
	dirs int
	seen map[string]bool // IDs of logs
	errs []error
}

func (r *reader) dir(path string, depth int) {
	ents, err := os.ReadDir(path)
	if err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			r.errs = append(r.errs, err)
		}
		return
	}
	var names, dirs []string
	for _, e := range ents {
		switch {
		case e.IsDir() && depth < maxDepth:
			dirs = append(dirs, e.Name())
		case recordName.MatchString(e.Name()):
			names = append(names, e.Name())
		}
	}
	var records []record
	for _, name := range names[max(0, len(names)-maxRecords):] {
		rec, err := r.read(filepath.Join(path, name))
		if err != nil {
			r.errs = append(r.errs, err)
			continue
		}
		records = append(records, rec)
	}
	for _, l := range join(records) {
		if id := l.ID(); !r.seen[id] {
			r.seen[id] = true
			r.logs = append(r.logs, l)
		}
	}
	for _, d := range dirs[max(0, len(dirs)-maxDirs):] {
		if r.dirs++; r.dirs > maxDirs {
			return
		}
		r.dir(filepath.Join(path, d), depth+1)
	}
}

// A record of the kernel's log is called dmesg-BACKEND-ID, and has .enc.z behind
// that if the kernel could not unpack it (pstore_mkfile, fs/pstore/inode.c).
var recordName = regexp.MustCompile(`^dmesg-([a-z_]+)-([0-9]+)$`)

// header is the first line of each record: the reason for writing, the number of the
// write since boot, and the part of the log, of which 1 is the end (pstore_dump,
// fs/pstore/platform.c).
var header = regexp.MustCompile(`^([A-Za-z][A-Za-z -]*#[0-9]+) Part([0-9]+)\n`)

// record is one file: a log or a part of one.
type record struct {
	path  string
	event string // the same for all parts of a log
	part  int
	text  []byte
	time  time.Time
}

func (r *reader) read(path string) (record, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if err != nil {
		return record{}, err
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil {
		return record{}, err
	}
	if !fi.Mode().IsRegular() {
		return record{}, fmt.Errorf("%s is not a regular file", path)
	}
	if r.left <= 0 {
		return record{}, fmt.Errorf("%s: not read: the logs before it have %d MiB", path, maxTotal>>20)
	}
	text, err := io.ReadAll(io.LimitReader(f, min(maxRecord, r.left)))
	if err != nil {
		return record{}, err
	}
	r.left -= int64(len(text))
	return parse(path, text, fi.ModTime()), nil
}

func parse(path string, text []byte, t time.Time) record {
	rec := record{path: path, part: 1, text: text, time: t}
	name := recordName.FindStringSubmatch(filepath.Base(path))
	if m := header.FindSubmatch(text); m != nil && name != nil {
		rec.text = text[len(m[0]):]
		rec.part, _ = strconv.Atoi(string(m[2]))
		rec.event = name[1] + " " + boot(name[1], name[2]) + " " + string(m[1])
	}
	return rec
}

// boot returns the common part of the IDs of one backend's records of one panic.
func boot(backend, id string) string {
	n, _ := strconv.ParseUint(id, 10, 64)
	switch {
	case strings.HasPrefix(backend, "efi"):
		// (seconds × 100 + part) × 1000 + count, generic_id in
		// drivers/firmware/efi/efi-pstore.c.
		return strconv.FormatUint(n/100_000, 10)
	case backend == "erst":
		// Seconds in the upper half, a number that counts up in the lower, see
		// cper_next_record_id in drivers/firmware/efi/cper.c.
		return strconv.FormatUint(n>>32, 10)
	}
	return ""
}

// join puts the parts of each log together.
func join(records []record) []Log {
	var events [][]record
	latest := map[string]int{} // event to its place in events
	for _, rec := range records {
		i, ok := latest[rec.event]
		// Two boots can give their records the same name.
		again := ok && slices.ContainsFunc(events[i], func(r record) bool { return r.part == rec.part })
		if rec.event == "" || !ok || again {
			i = len(events)
			events = append(events, nil)
			latest[rec.event] = i
		}
		events[i] = append(events[i], rec)
	}
	var logs []Log
	for _, parts := range events {
		slices.SortStableFunc(parts, func(a, b record) int { return b.part - a.part })
		var l Log
		for _, rec := range parts {
			l.Paths = append(l.Paths, rec.path)
			l.Text = append(l.Text, rec.text...)
			if !bytes.HasSuffix(rec.text, []byte("\n")) && len(rec.text) > 0 {
				l.Text = append(l.Text, '\n')
			}
			if rec.time.After(l.Time) {
				l.Time = rec.time
			}
		}
		logs = append(logs, l)
	}
	return logs
}
