package setup

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"ukdump/internal/bootloader"
	"ukdump/internal/crashdir"
	"ukdump/internal/state"
)

// dir has the record and the files as they were before.
const dir = state.Dir + "/setup"

// record is what setup has changed, so that it can be taken back.
type record struct {
	Version  int         `json:"version"`
	Loader   string      `json:"loader,omitempty"`
	Files    []recorded  `json:"files"`
	Commands []undoEntry `json:"commands"`              // in the order in which they were run
	Dirs     []string    `json:"directories,omitempty"` // that were made for the files, parents first
}

// clone returns a record that changes of this one do not reach.
func (r *record) clone() *record {
	c := *r
	c.Files, c.Commands, c.Dirs = slices.Clone(r.Files), slices.Clone(r.Commands), slices.Clone(r.Dirs)
	return &c
}

// recorded is a file that was changed.
type recorded struct {
	Path   string      `json:"path"`
	Mode   fs.FileMode `json:"mode"`
	Before string      `json:"before,omitempty"` // ID of its content before, and name of the copy; "" if there was none
	After  string      `json:"after,omitempty"`  // ID of what was written; "" if it was removed
}

// undoEntry is a command that was run.
type undoEntry struct {
	Args []string `json:"args"`
	Undo []string `json:"undo"` // nil: the same again
}

func (m *Machine) recordPath() string { return m.path(dir + "/record.json") }

// readRecord returns an empty record if there is none.
func (m *Machine) readRecord() (*record, error) {
	r := &record{Version: 1}
	b, err := crashdir.ReadFile(m.recordPath(), 1<<20)
	if errors.Is(err, fs.ErrNotExist) {
		return r, nil
	}
	if err == nil {
		err = json.Unmarshal(b, r)
	}
	if err == nil && r.Version != 1 {
		err = fmt.Errorf("format version %d, this program supports version 1", r.Version)
	}
	if err != nil {
		return nil, fmt.Errorf("read the record of earlier changes: %s: %w", m.recordPath(), err)
	}
	return r, nil
}

func (m *Machine) saveRecord(r *record) error {
	b, err := json.MarshalIndent(r, "", "\t")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(m.path(dir), 0o700); err != nil {
		return err
	}
	return m.write(dir+"/record.json", append(b, '\n'), 0o600)
}

// dropRecord removes the record and the copies.
func (m *Machine) dropRecord() error { return os.RemoveAll(m.path(dir)) }

// id returns the ID of a content, "" for a file that is not there.
func id(data []byte) string {
	if data == nil {
		return ""
	}
	return state.ID(data)
}

// add notes that a file is going to be changed and keeps a copy of it. If setup has changed
// it before, the oldest content counts, unless somebody else changed it since.
func (r *record) add(m *Machine, f *bootloader.File) error {
	i := slices.IndexFunc(r.Files, func(o recorded) bool { return o.Path == f.Path })
	if i >= 0 && (r.Files[i].After == id(f.Old) || r.Files[i].Before == id(f.Old)) {
		r.Files[i].After = id(f.New)
		return nil
	}
	if err := m.keep(f.Old); err != nil {
		return err
	}
	entry := recorded{Path: f.Path, Mode: f.Mode, Before: id(f.Old), After: id(f.New)}
	if i >= 0 {
		r.Files[i] = entry
		return nil
	}
	r.Files = append(r.Files, entry)
	return nil
}

// keep writes a copy of a content, by which it can be restored.
func (m *Machine) keep(data []byte) error {
	if data == nil {
		return nil
	}
	if err := os.MkdirAll(m.path(dir), 0o700); err != nil {
		return err
	}
	return m.write(dir+"/"+id(data), data, 0o600)
}

// kept returns the content with that ID, nil for "".
func (m *Machine) kept(id string) ([]byte, error) {
	if id == "" {
		return nil, nil
	}
	if !state.IsID(id) {
		return nil, fmt.Errorf("%s: damaged", m.recordPath())
	}
	b, err := m.read(dir + "/" + id)
	if err == nil && (b == nil || state.ID(b) != id) {
		err = fmt.Errorf("%s: the copy is lost", filepath.Join(dir, id))
	}
	return b, err
}

// addCommand notes a command that is going to be run.
func (r *record) addCommand(c *bootloader.Command) {
	e := undoEntry{Args: c.Args, Undo: c.Undo}
	if !slices.ContainsFunc(r.Commands, func(o undoEntry) bool { return slices.Equal(o.Args, e.Args) }) {
		r.Commands = append(r.Commands, e)
	}
}
