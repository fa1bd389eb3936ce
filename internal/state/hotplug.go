package state

import (
	"io/fs"
	"os"
	"path/filepath"
)

// HotplugFile is made, or its time set, by the udev rule for each event that the
// kernel does not handle itself. It is removed by the load that covers the event, or
// by reload --hotplug, even if no load follows. ukdump-hotplug.path starts that as
// long as it is there.
func (st Store) HotplugFile() string { return filepath.Join(st.Root, "run/ukdump-hotplug") }

// Hotplug returns the file of the last hotplug event that no load has covered.
func (st Store) Hotplug() (fs.FileInfo, error) { return os.Stat(st.HotplugFile()) }

// ForgetHotplug removes the file of the events.
func (st Store) ForgetHotplug() error {
	if err := os.Remove(st.HotplugFile()); err != nil && !os.IsNotExist(err) {
		return err
	}
	return nil
}
