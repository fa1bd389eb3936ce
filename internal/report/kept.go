package report

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"
)

// Empty reports whether nothing of the crash is known.
func (r *Report) Empty() bool {
	return len(r.Log) == 0 && len(r.CPUs) == 0 && r.Tasks == nil && r.Kernel.Release == "" && r.Crash.Time == nil
}

// Summary returns the report on one line: fingerprint, reason, innermost function.
func (r *Report) Summary() string {
	parts := []string{"fingerprint not known"}
	if r.Fingerprint != nil {
		parts[0] = r.Fingerprint.ID
	}
	if reason := firstOf(r.Crash.Cause, r.Crash.Panic); reason != "" {
		parts = append(parts, reason)
	}
	if f := r.Fingerprint; f != nil && len(f.Frames) > 0 {
		parts = append(parts, "in "+f.Frames[0])
	}
	return strings.Join(parts, ", ")
}

// maxHead bounds the beginning of a report in which ReadFingerprint looks, in bytes.
const maxHead = 256 << 10

// fingerprintID is the form of Fingerprint.ID.
var fingerprintID = regexp.MustCompile(`^v[0-9]{1,3}:[0-9a-f]{16}$`)

// ReadFingerprint reads the fingerprint of a report in JSON. It reads the beginning only, so that
// lists of many dumps are quick. The error says that it is not there or not valid.
func ReadFingerprint(r io.Reader) (*Fingerprint, error) {
	dec := json.NewDecoder(io.LimitReader(r, maxHead))
	if t, err := dec.Token(); err != nil || t != json.Delim('{') {
		return nil, errors.New("no report")
	}
	for dec.More() {
		key, err := dec.Token()
		if err != nil {
			return nil, err
		}
		if key != "fingerprint" {
			var skipped json.RawMessage
			if err := dec.Decode(&skipped); err != nil {
				return nil, err
			}
			continue
		}
		var f Fingerprint
		if err := dec.Decode(&f); err != nil {
			return nil, err
		}
		if !fingerprintID.MatchString(f.ID) {
			return nil, fmt.Errorf("fingerprint %q: not valid", f.ID)
		}
		return &f, nil
	}
	return nil, errors.New("no fingerprint")
}
