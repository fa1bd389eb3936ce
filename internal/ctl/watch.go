package ctl

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"ukdump/internal/build"
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
	Boot   string    `json:"boot_id"`
	Begin  time.Time `json:"begin"`
	Loaded bool      `json:"loaded"` // a capture kernel was, when it began
}

func (c *ctl) watchFile() string { return filepath.Join(c.root, build.StateDir, "watch.json") }

func (c *ctl) beginWatch() error {
	w := &watch{Boot: c.bootID(), Begin: time.Now().UTC().Round(time.Second)}
	if w.Boot == "" {
		return errors.New("there is no ID of this boot: /proc/sys/kernel/random/boot_id cannot be read")
	}
	w.Loaded, _ = c.kexec.Loaded() // no slot, nothing in it
	return c.saveState(c.watchFile(), w)
}

// endWatch ends the watch of this boot. Another boot's is for announce.
func (c *ctl) endWatch() error {
	if w := c.readWatch(); w == nil || w.Boot != c.bootID() {
		return nil
	}
	return c.removeWatch()
}

// earlierWatch returns the watch of an earlier boot, nil if there is none.
func (c *ctl) earlierWatch() *watch {
	if w := c.readWatch(); w != nil && c.bootID() != "" && w.Boot != c.bootID() {
		return w
	}
	return nil
}

// endEarlierWatch ends what was told about, or needs no telling.
func (c *ctl) endEarlierWatch() error {
	if c.earlierWatch() == nil {
		return nil
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
func (c *ctl) lastLoaded() *loaded {
	l := new(loaded)
	if readState(c.loadedFile(), 1<<20, l) != nil {
		return nil
	}
	return l
}

// lostEvent returns the event for a boot that ended without a shutdown while a
// capture kernel was loaded, if no dump explains that; else nil. logs are new in
// pstore.
func (c *ctl) lostEvent(conf *config.Config, known *announced, explained bool, logs []pstore.Log) *event {
	w := c.earlierWatch()
	if w == nil {
		return nil
	}
	// What was loaded after the watch began is in loaded.json, unless this boot
	// has written that again.
	isLoaded := w.Loaded
	if l := c.lastLoaded(); l == nil || l.BootID != c.bootID() {
		isLoaded = l != nil && l.BootID == w.Boot
	}
	key := "boot-" + w.Boot
	if explained || !isLoaded || known.has(key, time.Time{}) {
		return nil
	}
	why := "power loss, a reset, or a capture that FAILED"
	if paths := c.waitingDumps(known); len(paths) > 0 {
		why = "it was NOT COLLECTED from " + text(strings.Join(paths, " and "), 500) + ", see kdumpctl collect"
	}
	e := &event{key: key, id: lostMessage}
	e.message = "the machine went down without a shutdown while a capture kernel was loaded, and there is no dump in " +
		text(strings.Join(c.targetDirs(conf), " or "), 500) + ": " + why
	e.fields = []journal.Field{{Name: "UKDUMP_OUTCOME", Value: "none"}, {Name: "UKDUMP_ID", Value: text(key, 64)}}
	for _, l := range logs {
		if p := vmcore.FindPanic(l.Text); p.Line != "" {
			line := text(p.Line, 500)
			if p.Cause != "" {
				line = text(p.Cause, 500)
			}
			e.message += fmt.Sprintf("; pstore has: %s (%s)", line, text(l.Paths[0], 300))
			e.fields = append(e.fields, journal.Field{Name: "UKDUMP_PANIC", Value: text(p.Line, maxText)},
				journal.Field{Name: "UKDUMP_CAUSE", Value: text(p.Cause, maxText)})
			break
		}
	}
	return e
}

// waitingDumps returns the devices with a raw dump of this machine that collect
// has left there, if known has not got it, and adds it to that.
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
		dump, err := rawdump.Open(f, dev.size)
		f.Close()
		if err != nil || fromAnother(&dump.Header, machine) {
			continue
		}
		if key := "raw-" + dump.Header.ID; !known.has(key, time.Time{}) {
			known.add(key, time.Time{})
			paths = append(paths, dev.path)
		}
	}
	return paths
}
