package announce

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"ukdump/internal/cli"
	"ukdump/internal/config"
	"ukdump/internal/crashdir"
	"ukdump/internal/host"
	"ukdump/internal/journal"
	"ukdump/internal/pstore"
	"ukdump/internal/rawdump"
	"ukdump/internal/state"
	"ukdump/internal/vmcore"
)

// lostEvent returns the event for a boot that ended without a shutdown while a
// capture kernel was loaded, if no dump explains that; else nil. logs are new in
// pstore.
func (r *Run) lostEvent(conf *config.Config, known *state.AnnounceLog, explained bool, logs []pstore.Log) *event {
	w := r.Store.EarlierWatch()
	if w == nil {
		return nil
	}
	key := "boot-" + w.Boot
	loaded := r.Store.LoadedIn(w.Boot)
	if explained || loaded == nil || known.Has(key, time.Time{}) {
		return nil
	}
	dirs := conf.DumpDirs(r.Root)
	outcome, why := "none", "there is no dump in "+cli.Text(strings.Join(dirs, " or "), 500)+": "
	if paths, keys := r.waitingDumps(known); len(paths) > 0 {
		for _, key := range keys {
			known.Add(key, time.Time{})
		}
		why += "it was NOT COLLECTED from " + cli.Text(strings.Join(paths, " and "), 500) + ", see kdumpctl collect"
	} else if m := host.MissingMount(r.Root, dirs); m != nil {
		outcome, why = "", "unknown whether a dump exists: "+cli.Text(m.Point, 500)+" is NOT MOUNTED"
	} else if len(loaded.Servers) > 0 {
		outcome, why = "", why+"look at "+cli.Text(strings.Join(loaded.Servers, " and "), 500)+", to which the capture kernel was to write; otherwise power loss, a reset, or a capture that FAILED"+likely(nil, loaded)
	} else {
		why += "power loss, a reset, or a capture that FAILED" + likely(nil, loaded)
	}
	e := &event{key: key, id: lostMessage, priority: critical}
	e.message = "the machine went down without a shutdown while a capture kernel was loaded, and " + why
	e.fields = []journal.Field{{Name: "UKDUMP_OUTCOME", Value: outcome}, {Name: "UKDUMP_ID", Value: cli.Text(key, 64)}}
	for _, l := range logs {
		if p := vmcore.FindPanic(l.Text); p.Line != "" {
			line := cli.Text(p.Line, 500)
			if p.Cause != "" {
				line = cli.Text(p.Cause, 500)
			}
			e.message += fmt.Sprintf("; pstore has: %s (%s)", line, cli.Text(l.Paths[0], 300))
			e.fields = append(e.fields, journal.Field{Name: "UKDUMP_PANIC", Value: cli.Text(p.Line, cli.MaxText)},
				journal.Field{Name: "UKDUMP_CAUSE", Value: cli.Text(p.Cause, cli.MaxText)})
			break
		}
	}
	return e
}

// likely names a shortage of memory as the cause of a capture that failed: one that its
// report shows, or that was known when rec was loaded; "" without one. Both may be nil.
func likely(report *crashdir.Report, rec *state.LoadRecord) string {
	switch {
	case rec != nil && rec.Needed > rec.Memory:
		return fmt.Sprintf("; the likely cause: %s were reserved for it, and it needs about %s", cli.Size(rec.Memory), cli.Size(rec.Needed))
	case report != nil && report.OutOfMemory() && rec != nil && rec.Memory > 0:
		return fmt.Sprintf("; the likely cause: the capture kernel ran out of memory: %s could be used", cli.Size(rec.Memory))
	case report != nil && report.OutOfMemory():
		return "; the likely cause: the capture kernel ran out of memory"
	case rec != nil && rec.Unreachable != "":
		return "; the likely cause: " + cli.Text(rec.Unreachable, 300)
	}
	return ""
}

// waitingDumps returns the devices with a raw dump that collect has left there, if known
// has not got its key: one of this machine, one that cannot be read, and without a
// machine-id one that names no machine.
func (r *Run) waitingDumps(known *state.AnnounceLog) (paths, keys []string) {
	machine := ""
	if h, err := host.Open(r.Root); err == nil {
		machine, _ = h.MachineID()
	}
	devices, err := host.BlockDevices(r.Root)
	if err != nil {
		r.Out.Warn(err.Error())
	}
	for _, dev := range devices {
		f, err := os.Open(dev.Path)
		if err != nil {
			continue // collect has told
		}
		head := make([]byte, 4096)
		_, herr := f.ReadAt(head, 0)
		dump, err := rawdump.Open(f, dev.Size)
		f.Close()
		var damaged *rawdump.DamagedError
		var version *rawdump.VersionError
		var key string
		switch {
		case herr == nil && (errors.As(err, &damaged) || errors.As(err, &version)):
			key = "raw-" + state.ID(head) // whose it is cannot be read
		case err != nil || dump.Header.MachineID != machine:
			continue // if neither has an ID it may be of this machine
		default:
			key = "raw-" + dump.Header.ID
		}
		if !known.Has(key, time.Time{}) {
			paths, keys = append(paths, dev.Path), append(keys, key)
		}
	}
	return paths, keys
}
