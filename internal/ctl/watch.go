package ctl

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"ukdump/internal/build"
	"ukdump/internal/config"
	"ukdump/internal/crashdir"
	"ukdump/internal/journal"
	"ukdump/internal/pstore"
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
	w := c.readWatch()
	if w == nil || w.Boot == c.bootID() || c.bootID() == "" {
		return nil
	}
	if err := c.removeWatch(); err != nil && !errors.Is(err, fs.ErrNotExist) {
		c.Warn(err.Error())
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
	e := &event{key: key, id: lostMessage}
	e.message = "the machine went down without a shutdown while a capture kernel was loaded, and there is no dump in " +
		text(strings.Join(c.targetDirs(conf), " or "), 500) + ": power loss, a reset, or a capture that FAILED"
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
