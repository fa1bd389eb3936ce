package ctl

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"ukdump/internal/builder"
	"ukdump/internal/cli"
	"ukdump/internal/crashdir"
)

// Limits of the file of what was announced.
const (
	maxAnnounced     = 1000
	maxAnnouncedFile = 8 << 20
)

// announced is what people were told.
type announced struct {
	Version int `json:"version"`
	// Before is set once the list was full: dumps that are not younger were
	// announced.
	Before time.Time `json:"before,omitzero"`
	List   []told    `json:"announced"` // oldest first

	Boot    string `json:"boot_id"` // the boot in which it was written
	Crashes int    `json:"crashes"` // announced in that boot
	Last    string `json:"last,omitempty"`

	first bool // there is no file yet, or none that can be read
}

// told is one thing that was announced, or was there before anything was.
type told struct {
	Key  string    `json:"key"`
	Time time.Time `json:"time,omitzero"` // of a dump's name
}

func (a *announced) has(key string, t time.Time) bool {
	return slices.ContainsFunc(a.List, func(x told) bool { return x.Key == key }) ||
		!t.IsZero() && !a.Before.IsZero() && !t.After(a.Before)
}

func (a *announced) add(key string, t time.Time) {
	a.List = append(a.List, told{key, t})
	for len(a.List) > maxAnnounced {
		if a.List[0].Time.After(a.Before) {
			a.Before = a.List[0].Time
		}
		a.List = a.List[1:]
	}
}

func (c *ctl) announcedFile() string {
	return filepath.Join(c.root, builder.StateDir, "announced.json")
}

// readAnnounced always returns what can be gone on with; it is an error if there
// is a file that cannot be read.
func (c *ctl) readAnnounced() (*announced, error) {
	a := new(announced)
	err := readState(c.announcedFile(), maxAnnouncedFile, a)
	if err == nil && a.Version != 1 {
		err = fmt.Errorf("%s has format version %d, this program speaks version 1", c.announcedFile(), a.Version)
	}
	if err != nil {
		a = &announced{Version: 1, first: true}
	}
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	return a, err
}

func (c *ctl) saveAnnounced(a *announced) error { return c.saveState(c.announcedFile(), a) }

// readState reads a JSON file of ours.
func readState(path string, limit int64, v any) error {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, limit))
	if err != nil {
		return err
	}
	if err := json.Unmarshal(b, v); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

func (c *ctl) saveState(path string, v any) error {
	dir, name := filepath.Split(path)
	return crashdir.WriteFile(dir, name, func(w io.Writer) error { return cli.WriteJSON(w, v) })
}
