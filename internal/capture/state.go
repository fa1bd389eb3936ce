package capture

import (
	"encoding/json"
	"os"

	"ukdump/internal/crashdir"
)

// state is what the worker leaves for the salvage, in a file in memory.
type state struct {
	Report  crashdir.Report
	Dir     string // the dump's directory below mountDir, "" if there is none yet
	Mounted bool
}

// save writes the state. The rename keeps a worker that dies in here from
// leaving half a state.
func (st *state) save() error {
	b, err := json.Marshal(st)
	if err != nil {
		return err
	}
	if err := os.WriteFile(stateFile+".new", b, 0o600); err != nil {
		return err
	}
	return os.Rename(stateFile+".new", stateFile)
}

// loadState reads what the worker left; a missing or broken file is an empty
// state.
func loadState() *state {
	st := new(state)
	b, err := os.ReadFile(stateFile)
	if err == nil && json.Unmarshal(b, st) != nil {
		st = new(state)
	}
	return st
}
