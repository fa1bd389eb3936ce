package state

import (
	"errors"
	"os"
	"path/filepath"
	"time"

	"ukdump/internal/crashdir"
)

// Watch is there from announce --watch until announce --shutdown. One of an earlier
// boot tells that that boot did not end in a shutdown. The unit counts, not the
// shutdown as such: stopping it, for whatever reason, ends the watch, and starting
// it begins it again.
type Watch struct {
	Boot    string    `json:"boot_id"`
	Begin   time.Time `json:"begin"`
	Earlier *Watch    `json:"earlier,omitempty"` // that was not announced yet
}

const watchFile = "watch.json"

// BeginWatch begins the watch of this boot and keeps that of an earlier one. It is
// an error if this boot has no ID.
func (st Store) BeginWatch() error {
	w := &Watch{Boot: st.BootID(), Begin: time.Now().UTC().Round(time.Second), Earlier: st.EarlierWatch()}
	if w.Boot == "" {
		return errors.New("there is no ID of this boot: /proc/sys/kernel/random/boot_id cannot be read")
	}
	return writeJSON(st.file(watchFile), w)
}

// EndWatch ends the watch of this boot. Another boot's is for announce.
func (st Store) EndWatch() error {
	w := st.readWatch()
	if w == nil || w.Boot != st.BootID() {
		return nil
	}
	if w.Earlier != nil {
		return writeJSON(st.file(watchFile), w.Earlier)
	}
	return st.removeWatch()
}

// EarlierWatch returns the watch of an earlier boot, nil if there is none. It is the
// last of these: only where a target is never mounted there can be others.
func (st Store) EarlierWatch() *Watch {
	w := st.readWatch()
	switch {
	case w == nil || st.BootID() == "":
		return nil
	case w.Boot == st.BootID():
		return w.Earlier
	}
	w.Earlier = nil
	return w
}

// EndEarlierWatch ends the watch of an earlier boot when it was announced, or needs
// no announcement.
func (st Store) EndEarlierWatch() error {
	if st.EarlierWatch() == nil {
		return nil
	}
	if w := st.readWatch(); w.Boot == st.BootID() {
		w.Earlier = nil
		return writeJSON(st.file(watchFile), w)
	}
	return st.removeWatch()
}

func (st Store) removeWatch() error {
	path := st.file(watchFile)
	if err := os.Remove(path); err != nil {
		return err
	}
	return crashdir.SyncDir(filepath.Dir(path))
}

// readWatch returns nil if there is no watch that can be read.
func (st Store) readWatch() *Watch {
	w := new(Watch)
	if readJSON(st.file(watchFile), 1<<16, w) != nil || w.Boot == "" {
		return nil
	}
	return w
}
