package ctl

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"ukdump/internal/builder"
	"ukdump/internal/cli"
	"ukdump/internal/config"
	"ukdump/internal/crashdir"
	"ukdump/internal/host"
	"ukdump/internal/journal"
	"ukdump/internal/pstore"
	"ukdump/internal/rawdump"
	"ukdump/internal/vmcore"
)

// watch is there from announce --watch until announce --shutdown. One of an
// earlier boot tells that that boot did not end in a shutdown. What counts is the
// unit, not the shutdown as such: stopping it, for whatever reason, ends the
// watch, and starting it begins it again.
type watch struct {
	Boot    string    `json:"boot_id"`
	Begin   time.Time `json:"begin"`
	Earlier *watch    `json:"earlier,omitempty"` // that nobody was told about yet
}

func (c *ctl) watchFile() string { return filepath.Join(c.root, builder.StateDir, "watch.json") }

func (c *ctl) beginWatch() error {
	w := &watch{Boot: c.bootID(), Begin: time.Now().UTC().Round(time.Second), Earlier: c.earlierWatch()}
	if w.Boot == "" {
		return errors.New("there is no ID of this boot: /proc/sys/kernel/random/boot_id cannot be read")
	}
	return c.saveState(c.watchFile(), w)
}

// endWatch ends the watch of this boot. Another boot's is for announce.
func (c *ctl) endWatch() error {
	w := c.readWatch()
	if w == nil || w.Boot != c.bootID() {
		return nil
	}
	if w.Earlier != nil {
		return c.saveState(c.watchFile(), w.Earlier)
	}
	return c.removeWatch()
}

// earlierWatch returns the watch of an earlier boot, nil if there is none. It is the
// last of these: only where a target is never mounted there can be others.
func (c *ctl) earlierWatch() *watch {
	w := c.readWatch()
	switch {
	case w == nil || c.bootID() == "":
		return nil
	case w.Boot == c.bootID():
		return w.Earlier
	}
	w.Earlier = nil
	return w
}

// endEarlierWatch ends what was told about, or needs no telling.
func (c *ctl) endEarlierWatch() error {
	if c.earlierWatch() == nil {
		return nil
	}
	if w := c.readWatch(); w.Boot == c.bootID() {
		w.Earlier = nil
		return c.saveState(c.watchFile(), w)
	}
	return c.removeWatch()
}

func (c *ctl) removeWatch() error {
	if err := os.Remove(c.watchFile()); err != nil {
		return err
	}
	return crashdir.SyncDir(filepath.Dir(c.watchFile()))
}

// readWatch returns nil if there is no watch that can be read.
func (c *ctl) readWatch() *watch {
	w := new(watch)
	if readState(c.watchFile(), 1<<16, w) != nil || w.Boot == "" {
		return nil
	}
	return w
}

// lastLoaded returns what was loaded last, in this boot or an earlier one, nil if
// nothing is known or it was unloaded.
func (c *ctl) lastLoaded() *loaded { return readLoadedFile(c.loadedFile()) }

func readLoadedFile(path string) *loaded {
	l := new(loaded)
	if readState(path, 1<<20, l) != nil {
		return nil
	}
	return l
}

// wasLoaded reports whether a capture kernel was loaded at the end of an earlier
// boot.
func (c *ctl) wasLoaded(boot string) bool {
	for _, path := range []string{c.loadedFile(), c.loadedBeforeFile()} {
		if l := readLoadedFile(path); l != nil && l.BootID == boot {
			return true
		}
	}
	return false
}

// lostEvent returns the event for a boot that ended without a shutdown while a
// capture kernel was loaded, if no dump explains that; else nil. logs are new in
// pstore.
func (c *ctl) lostEvent(conf *config.Config, known *announced, explained bool, logs []pstore.Log) *event {
	w := c.earlierWatch()
	if w == nil {
		return nil
	}
	key := "boot-" + w.Boot
	if explained || !c.wasLoaded(w.Boot) || known.has(key, time.Time{}) {
		return nil
	}
	dirs := conf.DumpDirs(c.root)
	outcome, why := "none", "there is no dump in "+cli.Text(strings.Join(dirs, " or "), 500)+": "
	if paths := c.waitingDumps(known); len(paths) > 0 {
		why += "it was NOT COLLECTED from " + cli.Text(strings.Join(paths, " and "), 500) + ", see kdumpctl collect"
	} else if m := c.missingMount(dirs); m != nil {
		outcome, why = "", "whether there is a dump is not known: "+cli.Text(m.point, 500)+" is NOT MOUNTED"
	} else {
		why += "power loss, a reset, or a capture that FAILED"
	}
	e := &event{key: key, id: lostMessage}
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

// waitingDumps returns the devices with a raw dump of this machine, or one that
// cannot be read, that collect has left there, if known has not got it, and adds it
// to that.
func (c *ctl) waitingDumps(known *announced) (paths []string) {
	machine := ""
	if h, err := host.Open(c.root); err == nil {
		machine, _ = h.MachineID()
	}
	devices, err := c.blockDevices()
	if err != nil {
		c.Warn(err.Error())
	}
	for _, dev := range devices {
		f, err := os.Open(dev.path)
		if err != nil {
			continue // collect has told
		}
		head := make([]byte, 4096)
		_, herr := f.ReadAt(head, 0)
		dump, err := rawdump.Open(f, dev.size)
		f.Close()
		var damaged *rawdump.DamagedError
		var version *rawdump.VersionError
		var key string
		switch {
		case herr == nil && (errors.As(err, &damaged) || errors.As(err, &version)):
			key = "raw-" + id(head) // whose it is cannot be read
		case err != nil || fromAnother(&dump.Header, machine):
			continue
		default:
			key = "raw-" + dump.Header.ID
		}
		if !known.has(key, time.Time{}) {
			known.add(key, time.Time{})
			paths = append(paths, dev.path)
		}
	}
	return paths
}
