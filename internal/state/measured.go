package state

import (
	"errors"
	"io/fs"
	"slices"
	"time"
)

// Capture is the memory that one capture on this machine had and used. Sizes are in
// bytes.
type Capture struct {
	ID          string    `json:"id"`      // of its report
	Release     string    `json:"release"` // of the capture kernel
	Time        time.Time `json:"time"`    // of the crash
	Emergency   bool      `json:"emergency,omitempty"`
	LogOnly     bool      `json:"log_only,omitempty"`      // it was to save no vmcore, which takes less memory
	Complete    bool      `json:"complete"`                // it saved all that it was to save
	OutOfMemory bool      `json:"out_of_memory,omitempty"` // it did not, and ran out of memory
	Memory      int64     `json:"memory_bytes"`            // that it could use
	Packed      int64     `json:"image_bytes"`
	Unpacked    int64     `json:"unpacked_bytes"`
	Lowest      int64     `json:"lowest_mem_available"` // as in report.json
}

const (
	measuredFile = "measured.json"
	maxMeasured  = 16
)

type measurements struct {
	Captures []Capture `json:"captures"` // oldest first
}

// Measured returns the measurements of earlier captures, oldest first.
func (st Store) Measured() ([]Capture, error) {
	var m measurements
	err := readJSON(st.file(measuredFile), 1<<16, &m)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return m.Captures, err
}

// AddMeasured keeps the measurements of captures that are not known yet.
func (st Store) AddMeasured(fresh []Capture) error {
	known, err := st.Measured()
	if err != nil {
		known = nil // they are replaced
	}
	n := len(known)
	for _, c := range fresh {
		if !slices.ContainsFunc(known, func(k Capture) bool { return k.ID == c.ID }) {
			known = append(known, c)
		}
	}
	if len(known) == n {
		return nil
	}
	return writeJSON(st.file(measuredFile), measurements{known[max(0, len(known)-maxMeasured):]})
}
