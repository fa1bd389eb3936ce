package state

import (
	"errors"
	"io/fs"
	"slices"
	"time"
)

// Limits of the log: entries and bytes.
const (
	maxAnnounced     = 1000
	maxAnnouncedFile = 8 << 20
)

// AnnounceLog is the list of crashes that announce has reported.
type AnnounceLog struct {
	Version int `json:"version"`
	// Before is set once the list was full: dumps that are not younger were
	// announced.
	Before time.Time       `json:"before,omitzero"`
	List   []AnnounceEntry `json:"announced"` // oldest first

	Boot    string `json:"boot_id"` // the boot in which it was written
	Crashes int    `json:"crashes"` // announced in that boot
	Last    string `json:"last,omitempty"`
	Test    string `json:"test,omitempty"` // the result of a test that was announced in that boot

	First bool `json:"-"` // there is no file yet, or none that can be read
}

// AnnounceEntry is one crash that was announced, or a dump that is older than the
// first announce.
type AnnounceEntry struct {
	Key  string    `json:"key"`
	Time time.Time `json:"time,omitzero"` // of the crash
}

// Has reports whether the crash of that key, which was at t (zero if there is no
// dump), was announced.
func (a *AnnounceLog) Has(key string, t time.Time) bool {
	return slices.ContainsFunc(a.List, func(e AnnounceEntry) bool { return e.Key == key }) ||
		!t.IsZero() && !a.Before.IsZero() && !t.After(a.Before)
}

// Add appends a crash and drops the oldest ones beyond the limit.
func (a *AnnounceLog) Add(key string, t time.Time) {
	a.List = append(a.List, AnnounceEntry{key, t})
	for len(a.List) > maxAnnounced {
		if a.List[0].Time.After(a.Before) {
			a.Before = a.List[0].Time
		}
		a.List = a.List[1:]
	}
}

const announcedFile = "announced.json"

// Announced returns the log, an empty one where there is none. With an error, that
// of a file that cannot be read, it returns an empty one as well.
func (st Store) Announced() (*AnnounceLog, error) {
	a := new(AnnounceLog)
	path := st.file(announcedFile)
	err := readJSON(path, maxAnnouncedFile, a)
	if err == nil {
		err = checkVersion(path, a.Version)
	}
	if err != nil {
		a = &AnnounceLog{Version: 1, First: true}
	}
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	return a, err
}

// SaveAnnounced keeps the log for the next announce.
func (st Store) SaveAnnounced(a *AnnounceLog) error { return writeJSON(st.file(announcedFile), a) }
